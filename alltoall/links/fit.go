package links

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// fit is a line of time against bytes: alpha + beta·bytes, in nanoseconds, and the share of the
// variance that it explains.
type fit struct{ alpha, beta, r2 float64 }

// size is a length of messages that are timed, and how many follow each other in a batch.
type size struct{ bytes, times int }

// batches is the number of timed batches of each size, after one that is not timed. The median
// counts.
const batches = 5

// timeMessages exchanges messages of each size, to one rank and from one, and fits their mean
// times. A single message shows little: one that was sent while this rank did something else
// arrives in no time.
func timeMessages(ctx context.Context, t transport.Transport, tag transport.Tag, to, from int, sizes []size) (fit, error) {
	var x, y []float64
	for _, s := range sizes {
		sends := []transport.Message{{Peer: transport.Rank(to), Tag: tag, Bufs: [][]byte{make([]byte, s.bytes)}}}
		recvs := []transport.Message{{Peer: transport.Rank(from), Tag: tag, Bufs: [][]byte{make([]byte, s.bytes)}}}
		mean, err := meanTime(s.times, func() error { return transport.Exchange(ctx, t, sends, recvs) })
		if err != nil {
			return fit{}, err
		}
		x, y = append(x, float64(s.bytes)), append(y, mean)
	}
	return fitLine(x, y), nil
}

// meanTime returns the mean time in nanoseconds of do, called the given number of times in a row,
// in the median of the batches.
func meanTime(times int, do func() error) (float64, error) {
	means := make([]float64, 0, batches)
	for batch := range batches + 1 {
		begin := time.Now()
		for range times {
			if err := do(); err != nil {
				return 0, err
			}
		}
		if batch > 0 {
			means = append(means, float64(time.Since(begin))/float64(times))
		}
	}
	slices.Sort(means)
	return max(means[len(means)/2], 1), nil
}

// fitLine minimises the sum of squares of the relative errors of alpha + beta·x, neither of them
// negative.
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

// time is the time of a message of medium length, by which fits are compared.
func (f fit) time() float64 { return f.alpha + f.beta*(64<<10) }

// link is the cost that the fit found.
func (f fit) link() Link { return Link{Alpha: time.Duration(f.alpha), Beta: f.beta} }

// slowestFits sends every rank every rank's fits, and returns the slowest of each.
func slowestFits(ctx context.Context, t transport.Transport, mine []fit) ([]fit, error) {
	all, err := gatherFits(ctx, t, mine)
	if err != nil {
		return nil, err
	}
	slowest := make([]fit, len(mine))
	for _, fits := range all {
		for i, f := range fits {
			if slowest[i].time() < f.time() {
				slowest[i] = f
			}
		}
	}
	return slowest, nil
}

// gatherFits sends every rank every rank's fits, and returns them by rank.
func gatherFits(ctx context.Context, t transport.Transport, mine []fit) ([][]fit, error) {
	texts, err := gatherBytes(ctx, t, encodeFits(mine))
	if err != nil {
		return nil, errtext.Errorf("alltoall: measuring links: %w", err)
	}
	all := make([][]fit, t.Size())
	for r, text := range texts {
		for i := range mine {
			f, ok := decodeFit(text[fitBytes*i:])
			if !ok {
				return nil, &transport.Error{Rank: transport.Joined(t, transport.Rank(r)), Op: "measure",
					Err: fmt.Errorf("%w: a link that costs %v", transport.ErrProtocol, f)}
			}
			all[r] = append(all[r], f)
		}
	}
	return all, nil
}

// gatherBytes sends out to every other rank, and returns what came from each, which is as long.
func gatherBytes(ctx context.Context, t transport.Transport, out []byte) ([][]byte, error) {
	all := make([][]byte, t.Size())
	var sends, recvs []transport.Message
	for r := range all {
		if all[r] = out; r == int(t.Rank()) {
			continue
		}
		all[r] = make([]byte, len(out))
		sends = append(sends, transport.Message{Peer: transport.Rank(r), Tag: fitsTag, Bufs: [][]byte{out}})
		recvs = append(recvs, transport.Message{Peer: transport.Rank(r), Tag: fitsTag, Bufs: [][]byte{all[r]}})
	}
	return all, transport.Exchange(ctx, t, sends, recvs)
}

// fitBytes is the length of a fit in a message.
const fitBytes = 24

func encodeFits(fits []fit) []byte {
	out := make([]byte, 0, fitBytes*len(fits))
	for _, f := range fits {
		for _, v := range []float64{f.alpha, f.beta, f.r2} {
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
		}
	}
	return out
}

// decodeFit reads a fit, and reports whether its numbers are possible.
func decodeFit(words []byte) (fit, bool) {
	number := func(i int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(words[8*i:])) }
	f := fit{number(0), number(1), number(2)}
	const hour = 3.6e12
	return f, f.alpha >= 0 && f.alpha < hour && f.beta >= 0 && f.beta < hour && f.r2 >= 0 && f.r2 <= 1
}
