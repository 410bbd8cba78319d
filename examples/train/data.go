package main

import (
	"bytes"
	"math/rand/v2"

	"github.com/switchyard-moe/switchyard/examples/internal/gpt"
)

// share is the run of a batch's leaves that a rank holds.
type share struct{ first, count int }

// shareOf spreads leaves over ranks as evenly as can be: the first ranks hold one more where there
// is a remainder, and the last ranks none where there are more ranks than leaves.
func shareOf(leaves, ranks, rank int) share {
	each, more := leaves/ranks, leaves%ranks
	s := share{first: rank*each + min(rank, more), count: each}
	if rank < more {
		s.count++
	}
	return s
}

// shareOf is a rank's share of a batch: as many leaves of each of its micro-batches.
func (o options) shareOf(ranks, rank int) share {
	s := shareOf(o.groups/o.micro, ranks, rank)
	return share{first: s.first * o.micro, count: s.count * o.micro}
}

// dataset makes one rank's share of the batches. What a global batch holds depends on the options
// alone.
type dataset struct {
	train, held []byte
	options     options
	share       share

	// Of the last batch.
	inputs, targets []byte
	scored          []bool
}

// trainBatches is the step-th batch, cut into micro-batches: sequences from anywhere in the
// training text. The first micro-batch has the first of the rank's leaves, the second the next, and
// so on in turns.
func (d *dataset) trainBatches(step int) []gpt.Batch {
	const stream = 0x64617461 << 32
	r := rand.New(rand.NewPCG(d.options.seed, stream|uint64(step)))
	starts := make([]int, d.options.batch)
	for i := range starts {
		starts[i] = r.IntN(len(d.train) - d.options.seq)
	}
	b := d.fill(d.train, starts)
	if d.options.objective == maskedObjective {
		m := rand.New(rand.NewPCG(d.options.seed, maskStream|uint64(step)))
		d.mask(&b, func(int) *rand.Rand { return m })
	}
	return interleaved(b, d.options.micro)
}

// interleaved deals the leaves of a batch to n.
func interleaved(b gpt.Batch, n int) []gpt.Batch {
	if n == 1 {
		return []gpt.Batch{b}
	}
	list := make([]gpt.Batch, n)
	for i := range list {
		m := b
		m.Inputs, m.Targets, m.Scored, m.FirstLeaf, m.LeafStep = nil, nil, nil, b.FirstLeaf+i, n
		for l := i; l < b.Leaves(); l += n {
			begin, end := l*b.LeafTokens, (l+1)*b.LeafTokens
			m.Inputs, m.Targets = append(m.Inputs, b.Inputs[begin:end]...), append(m.Targets, b.Targets[begin:end]...)
			if b.Scored != nil {
				m.Scored = append(m.Scored, b.Scored[begin:end]...)
			}
		}
		list[i] = m
	}
	return list
}

// heldBatches is the number of batches that the held-out text makes; less than a batch at its end
// is left out.
func (d *dataset) heldBatches() int {
	return (len(d.held) - 1) / d.options.seq / d.options.batch
}

// evalBatches is the number of those that an evaluation takes.
func (d *dataset) evalBatches() int {
	if most := d.options.evalBatches; most > 0 {
		return min(most, d.heldBatches())
	}
	return d.heldBatches()
}

// heldWindow is the start of the i-th sequence of the held-out text.
func (d *dataset) heldWindow(i int) int { return i * d.options.seq }

// heldStarts is where the sequences of the i-th of n batches over the held-out text begin. Where n
// is below heldBatches, they are spread evenly over it.
func (d *dataset) heldStarts(i, n int) []int {
	starts := make([]int, d.options.batch)
	for j := range starts {
		starts[j] = d.heldWindow((i*len(starts) + j) * d.heldBatches() / n)
	}
	return starts
}

// heldBatch is the i-th of n batches over the held-out text. A sequence of it has the same masks
// whatever the seed and the size of batches.
func (d *dataset) heldBatch(i, n int) gpt.Batch {
	starts := d.heldStarts(i, n)
	b := d.fill(d.held, starts)
	if d.options.objective == maskedObjective {
		d.mask(&b, func(i int) *rand.Rand { return rand.New(rand.NewPCG(0, maskStream|uint64(starts[i]))) })
	}
	return b
}

// fill copies this rank's sequences of those that begin at starts.
func (d *dataset) fill(text []byte, starts []int) gpt.Batch {
	o := d.options
	each := o.batch / o.groups // sequences of a leaf
	d.inputs, d.targets = d.inputs[:0], d.targets[:0]
	for _, s := range starts[d.share.first*each : (d.share.first+d.share.count)*each] {
		d.inputs = append(d.inputs, text[s:s+o.seq]...)
		d.targets = append(d.targets, text[s+1:s+o.seq+1]...)
	}
	return gpt.Batch{
		Inputs: d.inputs, Targets: d.targets,
		FirstLeaf: d.share.first, LeafTokens: each * o.seq, GlobalTokens: o.batch * o.seq,
	}
}

// prompt is the start of the held-out text's first whole paragraph, or of the text if it has none.
func (d *dataset) prompt() []byte {
	const longest = 48
	gap := []byte("\n\n")
	start := bytes.Index(d.held, gap) + len(gap)
	if start < len(gap) || start+longest > len(d.held) {
		start = 0
	}
	return d.held[start:min(start+longest, len(d.held))]
}
