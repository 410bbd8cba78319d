package main

import (
	"context"
	"encoding/binary"
	"math"
)

// report is one step over all ranks. It is the same on every rank and for every number of ranks,
// but for wire.
type report struct {
	// loss is the mean over the batch's tokens that count, in nats.
	loss float64
	// load is the number of tokens that chose each expert, for each Switchyard layer.
	load [][]int
	// dropped is the number of those choices that capacity dropped, and droppedOf that of each layer.
	dropped   int
	droppedOf []int
	// wire is the number of bytes sent in all training steps so far.
	wire uint64
	// asked tells that a rank was asked to end.
	asked bool
}

// merge adds up what counts and keeps the latest of what is counted from the start.
func (r *report) merge(next report) {
	r.loss += next.loss
	r.dropped += next.dropped
	r.wire = next.wire
	if r.load == nil {
		r.load = next.load
		return
	}
	for l, experts := range next.load {
		for e, n := range experts {
			r.load[l][e] += n
		}
	}
}

// gather puts together what every rank knows of a step of some micro-batches; sums is the loss of
// each of its leaves, and tokens the number of tokens of all ranks whose loss counts. What it sends
// is not counted as traffic of training.
func (t *trainer) gather(ctx context.Context, sums []float64, tokens int, through []microBatch) (report, error) {
	mine := t.record(sums, through)
	all := make([]byte, len(mine)*t.world.Size())
	if err := t.world.Comm().AllGather(ctx, all, mine); err != nil {
		return report{}, err
	}
	r := report{load: make([][]int, len(t.layers)), droppedOf: make([]int, len(t.layers))}
	for l := range r.load {
		r.load[l] = make([]int, t.options.experts)
	}
	for rank, leaves := range t.leaves {
		t.add(&r, all[rank*len(mine):], leaves)
	}
	r.loss /= float64(tokens)
	return r, nil
}

// record is this rank's part of a report: the bytes sent, whether it was asked to end, each layer's
// choices dropped and load, and the losses of as many leaves as a rank may have, in words of eight
// bytes.
func (t *trainer) record(sums []float64, through []microBatch) []byte {
	words := []uint64{t.wire, t.options.askedNow()}
	for i := range t.layers {
		load, dropped := make([]uint64, t.options.experts), 0
		for _, of := range through {
			s := of.layers[i].stats
			dropped += s.Dropped
			for e := range min(len(load), len(s.Choices)) {
				load[e] += uint64(s.Choices[e])
			}
		}
		words = append(append(words, uint64(dropped)), load...)
	}
	for i := range t.leaves[0] { // rank 0 has the most
		v := 0.0
		if i < len(sums) {
			v = sums[i]
		}
		words = append(words, math.Float64bits(v))
	}
	var buf []byte
	for _, w := range words {
		buf = binary.LittleEndian.AppendUint64(buf, w)
	}
	return buf
}

// askedNow is 1 if this rank was asked to end.
func (o options) askedNow() uint64 {
	select {
	case <-o.asked:
		return 1
	default:
		return 0
	}
}

// add adds a rank's record to r. Ranks are added in order, and so the losses in the order of
// leaves.
func (t *trainer) add(r *report, record []byte, leaves int) {
	next := func() uint64 {
		w := binary.LittleEndian.Uint64(record)
		record = record[8:]
		return w
	}
	r.wire += next()
	r.asked = next() > 0 || r.asked
	for l := range r.load {
		dropped := int(next())
		r.dropped += dropped
		r.droppedOf[l] += dropped
		for e := range r.load[l] {
			r.load[l][e] += int(next())
		}
	}
	for range leaves {
		r.loss += math.Float64frombits(next())
	}
}
