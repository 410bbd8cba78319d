package alltoall

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

// Measured is links as [Measure] found them, and how well they describe the times: R2 is 1 where time is exactly
// Alpha and Beta for each byte, and 0 where there is no such link.
type Measured struct {
	Links
	R2Within, R2Between float64
}

// measuredSizes are the bytes of the messages timed, and how many follow each other in a batch. Together they are more than a link lets
// pass before it holds to its rate.
var measuredSizes = []struct{ bytes, times int }{{64, 16}, {4 << 10, 16}, {64 << 10, 8}, {512 << 10, 2}}

// measuredBatches is how many batches of a size there are after one that is not timed. The median counts.
const measuredBatches = 5

// Measure times messages over t, which must carry nothing else, and fits their costs by least squares of the relative error. Within a node
// every rank sends to the next one's; between nodes their first ranks do, one to a link. All ranks call it, and all get the same: the
// slowest rank's. It takes some hundred messages, of 64 bytes to 512 KiB, 10 MiB in all.
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
			return Measured{}, errtext.Errorf("alltoall: measuring links: %w", err)
		}
	}
	m, err := shareFits(ctx, t, fits[:])
	if err != nil {
		return Measured{}, err
	}
	link := func(f fit) Link { return Link{Alpha: time.Duration(f.alpha), Beta: f.beta} }
	found := Measured{Links: Links{Within: link(m[0]), Between: link(m[1])}, R2Within: m[0].r2, R2Between: m[1].r2}
	if t.Size() == 1 {
		return found, nil
	}
	rounds, err := timeRounds(ctx, t, top)
	if err != nil {
		return Measured{}, err
	}
	if rounds, err = shareFits(ctx, t, rounds); err != nil {
		return Measured{}, err
	}
	found.Rounds = Rounds{Ranks: t.Size(), Bytes: roundBytes(t.Size())}
	for i, f := range rounds {
		found.Rounds.Times[Algorithms()[i/roundSizes]][i%roundSizes] = time.Duration(f.alpha)
	}
	return found, nil
}

// fit is a line of time against bytes.
type fit struct{ alpha, beta, r2 float64 } // nanoseconds

// timeRing exchanges messages of every size with the next rank and the one before, and fits their mean times. Single ones tell little: what
// one rank sends while another still does something else arrives in no time.
func timeRing(ctx context.Context, t transport.Transport, tag transport.Tag, to, from int) (fit, error) {
	var x, y []float64
	for _, size := range measuredSizes {
		out, in := make([]byte, size.bytes), make([]byte, size.bytes)
		sends := []transport.Message{{Peer: transport.Rank(to), Tag: tag, Bufs: [][]byte{out}}}
		recvs := []transport.Message{{Peer: transport.Rank(from), Tag: tag, Bufs: [][]byte{in}}}
		mean, err := meanTime(size.times, func() error { return transport.Exchange(ctx, t, sends, recvs) })
		if err != nil {
			return fit{}, err
		}
		x, y = append(x, float64(size.bytes)), append(y, mean)
	}
	return fitLine(x, y), nil
}

// meanTime returns the mean time of do, so many times in a row, in the median of the batches.
func meanTime(times int, do func() error) (float64, error) {
	means := make([]float64, 0, measuredBatches)
	for batch := range measuredBatches + 1 {
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

// roundBytes returns the lengths of messages that rounds between so many ranks are timed with: each eight times the one before, up to
// where a rank sends half a MiB.
func roundBytes(ranks int) (list [roundSizes]int) {
	most := max((512<<10)/ranks, 64<<(3*(roundSizes-1)))
	for i := range list {
		list[i] = most >> (3 * (roundSizes - 1 - i))
	}
	return list
}

// timeRounds times rounds by every algorithm, length after length, as fits without a slope. All go once before any is timed, as the first
// are slow wherever memory is touched for the first time.
func timeRounds(ctx context.Context, t transport.Transport, top Topology) ([]fit, error) {
	n := t.Size()
	x, err := New(t, Config{Placement: Even(n, n), Dim: 1, Topology: top})
	if err != nil {
		return nil, err
	}
	sizes := roundBytes(n)
	long := sizes[roundSizes-1]
	out, in := make([]byte, long), make([]byte, n*long)
	fits := make([]fit, len(Algorithms())*roundSizes)
	for _, timed := range []bool{false, true} {
		for i := range fits {
			a, size := Algorithms()[i/roundSizes], sizes[i%roundSizes]
			round := func() error { return x.blankRound(ctx, a, out[:size], in) }
			if !timed {
				err = round()
			} else {
				fits[i].alpha, err = meanTime(max(min(long/size/4, 8), 1), round)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return fits, nil
}

// blankRound sends out to every other rank, and receives as much from each into in.
func (x *Exchange) blankRound(ctx context.Context, a Algorithm, out, in []byte) error {
	x.seq++
	x.now = a
	x.round.begin()
	defer x.round.end()
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		x.send(r, x.round.one(out))
		x.recv(r, x.round.one(in[r*len(out):][:len(out)]))
	}
	return x.run(ctx, "measuring")
}

// shareFits tells every rank every rank's fits, and returns the slowest of each.
func shareFits(ctx context.Context, t transport.Transport, mine []fit) ([]fit, error) {
	all, err := gatherFits(ctx, t, mine)
	if err != nil {
		return nil, err
	}
	worst := make([]fit, len(mine))
	for _, fits := range all {
		for i, f := range fits {
			if worst[i].time() < f.time() {
				worst[i] = f
			}
		}
	}
	return worst, nil
}

// gatherFits tells every rank every rank's fits.
func gatherFits(ctx context.Context, t transport.Transport, mine []fit) ([][]fit, error) {
	const tag = 2
	out := make([]byte, 0, fitBytes*len(mine))
	for _, f := range mine {
		for _, v := range []float64{f.alpha, f.beta, f.r2} {
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
		}
	}
	texts := make([][]byte, t.Size())
	var sends, recvs []transport.Message
	for r := range texts {
		if texts[r] = out; r == int(t.Rank()) {
			continue
		}
		texts[r] = make([]byte, len(out))
		sends = append(sends, transport.Message{Peer: transport.Rank(r), Tag: tag, Bufs: [][]byte{out}})
		recvs = append(recvs, transport.Message{Peer: transport.Rank(r), Tag: tag, Bufs: [][]byte{texts[r]}})
	}
	if err := transport.Exchange(ctx, t, sends, recvs); err != nil {
		return nil, errtext.Errorf("alltoall: measuring links: %w", err)
	}
	all := make([][]fit, t.Size())
	for r, text := range texts {
		for i := range mine {
			f, ok := readFit(text[fitBytes*i:])
			if !ok {
				return nil, &transport.Error{Rank: transport.Joined(t, transport.Rank(r)), Op: "measure", Err: fmt.Errorf("%w: a link that costs %v", transport.ErrProtocol, f)}
			}
			all[r] = append(all[r], f)
		}
	}
	return all, nil
}

// fitBytes is the length of a fit in a message.
const fitBytes = 24

// time is that of a message of medium size, by which fits are compared.
func (f fit) time() float64 { return f.alpha + f.beta*(64<<10) }

// readFit reads a fit, and tells whether it is one of numbers that can be.
func readFit(words []byte) (fit, bool) {
	number := func(i int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(words[8*i:])) }
	f := fit{number(0), number(1), number(2)}
	const hour = 3.6e12
	return f, f.alpha >= 0 && f.alpha < hour && f.beta >= 0 && f.beta < hour && f.r2 >= 0 && f.r2 <= 1
}
