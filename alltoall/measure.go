package alltoall

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// Measured is links as [Measure] found them, and how well they describe the times: R2 is 1 where time is exactly
// Alpha and Beta for each byte, and 0 where there is no such link.
type Measured struct {
	Links
	R2Within, R2Between float64
}

// measuredSizes are the bytes of the messages timed, and how often each is, after one that is not.
var measuredSizes = []struct{ bytes, times int }{{64, 15}, {4 << 10, 11}, {64 << 10, 7}, {512 << 10, 3}}

// Measure times messages over t, which must carry nothing else, and fits their costs by least squares of the relative error. Within a node
// every rank sends to the next one's; between nodes their first ranks do, one to a link. All ranks call it, and all get the same: the
// slowest rank's. It takes some tens of messages, of 64 bytes to 512 KiB.
func Measure(ctx context.Context, t transport.Transport, top Topology) (Measured, error) {
	if err := top.Validate(t.Size()); err != nil {
		return Measured{}, err
	}
	o, me := top.on(t.Size()), int(t.Rank())
	mates := o.members[o.node[me]]
	var leaders []int
	for _, m := range o.members {
		leaders = append(leaders, m[0])
	}
	var fits [2]fit
	for tag, ring := range [2][]int{mates, leaders} {
		at := slices.Index(ring, me)
		if len(ring) < 2 || at < 0 {
			continue
		}
		to, from := ring[(at+1)%len(ring)], ring[(at+len(ring)-1)%len(ring)]
		var err error
		if fits[tag], err = timeRing(ctx, t, transport.Tag(tag), to, from); err != nil {
			return Measured{}, fmt.Errorf("alltoall: measuring links: %w", err)
		}
	}
	return shareFits(ctx, t, fits)
}

// fit is a line of time against bytes.
type fit struct{ alpha, beta, r2 float64 } // nanoseconds

// timeRing exchanges messages of every size with the next rank and the one before, and fits the medians.
func timeRing(ctx context.Context, t transport.Transport, tag transport.Tag, to, from int) (fit, error) {
	var x, y []float64
	for _, size := range measuredSizes {
		out, in := make([]byte, size.bytes), make([]byte, size.bytes)
		sends := []transport.Message{{Peer: transport.Rank(to), Tag: tag, Bufs: [][]byte{out}}}
		recvs := []transport.Message{{Peer: transport.Rank(from), Tag: tag, Bufs: [][]byte{in}}}
		times := make([]float64, 0, size.times)
		for i := range size.times + 1 {
			begin := time.Now()
			if err := transport.Exchange(ctx, t, sends, recvs); err != nil {
				return fit{}, err
			}
			if i > 0 {
				times = append(times, float64(time.Since(begin)))
			}
		}
		slices.Sort(times)
		x, y = append(x, float64(size.bytes)), append(y, max(times[len(times)/2], 1))
	}
	return fitLine(x, y), nil
}

// fitLine minimises the sum of squares of the relative errors of alpha + beta·x, neither of them negative.
func fitLine(x, y []float64) fit {
	var w, wx, wxx, wy, wxy float64
	for i := range x {
		k := 1 / (y[i] * y[i])
		w, wx, wxx, wy, wxy = w+k, wx+k*x[i], wxx+k*x[i]*x[i], wy+k*y[i], wxy+k*x[i]*y[i]
	}
	var f fit
	f.beta = (w*wxy - wx*wy) / (w*wxx - wx*wx)
	f.alpha = (wy - f.beta*wx) / w
	if f.beta < 0 {
		f.alpha, f.beta = wy/w, 0
	}
	if f.alpha < 0 {
		f.alpha, f.beta = 0, wxy/wxx
	}
	mean, off, all := wy/w, 0.0, 0.0
	for i := range x {
		k := 1 / (y[i] * y[i])
		d, m := y[i]-f.alpha-f.beta*x[i], y[i]-mean
		off, all = off+k*d*d, all+k*m*m
	}
	if all > 0 {
		f.r2 = max(1-off/all, 0)
	}
	return f
}

// shareFits tells every rank every rank's fits, and returns the slowest of each.
func shareFits(ctx context.Context, t transport.Transport, mine [2]fit) (Measured, error) {
	const words, tag = 6, 2
	out := make([]byte, 0, 8*words)
	for _, f := range mine {
		for _, v := range []float64{f.alpha, f.beta, f.r2} {
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
		}
	}
	all := make([][]byte, t.Size())
	var sends, recvs []transport.Message
	for r := range all {
		if all[r] = out; r == int(t.Rank()) {
			continue
		}
		all[r] = make([]byte, len(out))
		sends = append(sends, transport.Message{Peer: transport.Rank(r), Tag: tag, Bufs: [][]byte{out}})
		recvs = append(recvs, transport.Message{Peer: transport.Rank(r), Tag: tag, Bufs: [][]byte{all[r]}})
	}
	if err := transport.Exchange(ctx, t, sends, recvs); err != nil {
		return Measured{}, fmt.Errorf("alltoall: measuring links: %w", err)
	}
	var worst [2]fit
	for r, words := range all {
		for i := range worst {
			f, ok := readFit(words[24*i:])
			if !ok {
				return Measured{}, &transport.Error{Rank: transport.Rank(r), Op: "measure", Err: fmt.Errorf("%w: a link that costs %v", transport.ErrProtocol, f)}
			}
			if worst[i].time() < f.time() {
				worst[i] = f
			}
		}
	}
	link := func(f fit) Link { return Link{Alpha: time.Duration(f.alpha), Beta: f.beta} }
	return Measured{Links: Links{Within: link(worst[0]), Between: link(worst[1])}, R2Within: worst[0].r2, R2Between: worst[1].r2}, nil
}

// time is that of a message of medium size, by which fits are compared.
func (f fit) time() float64 { return f.alpha + f.beta*(64<<10) }

// readFit reads a fit, and tells whether it is one of numbers that can be.
func readFit(words []byte) (fit, bool) {
	number := func(i int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(words[8*i:])) }
	f := fit{number(0), number(1), number(2)}
	const hour = 3.6e12
	return f, f.alpha >= 0 && f.alpha < hour && f.beta >= 0 && f.beta < hour && f.r2 >= 0 && f.r2 <= 1
}
