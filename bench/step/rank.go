package step

import (
	"context"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/bench/internal/workload"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

const port = 29720

// report is what a rank says at its end: what it has seen of each way to sum.
type report struct {
	Rank int
	Ways []seen
}

// seen is what a rank has seen of the steps of one way to sum, by round.
type seen struct {
	Steps, Syncs     []time.Duration
	Sent, SentBySync []uint64
	Digests          []uint64 // of the results
}

// pieces are those of the ways to sum that are timed; 0 is at the end.
func (o *options) pieces() []int {
	if o.Free {
		return []int{0}
	}
	return []int{0, o.Piece}
}

func runRank(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	r, err := rank(ctx, args)
	return harness.Answer(ctx, r, err, stdout, stderr)
}

func rank(ctx context.Context, args []string) (r report, err error) {
	var o options
	if r.Rank, err = harness.RankOptions(args, &o); err != nil {
		return r, err
	}
	w, err := netns.Join(ctx, r.Rank, o.Ranks, 1, port)
	if err != nil {
		return r, err
	}
	defer func() {
		if closing := w.Close(); err == nil {
			err = closing
		}
	}()
	r.Ways, err = o.time(ctx, w)
	return r, err
}

// time runs the rounds on one rank, in each of which the ways take turns.
func (o *options) time(ctx context.Context, w *switchyard.World) ([]seen, error) {
	var stacks []*stack
	for _, piece := range o.pieces() {
		s, err := o.newStack(w, piece)
		if err != nil {
			return nil, err
		}
		stacks = append(stacks, s)
	}
	ways := make([]seen, len(stacks))
	for round := range o.Rounds + 1 { // the first is to warm up
		for n := range stacks {
			i := (n + round) % len(stacks)
			if err := stacks[i].step(ctx, &ways[i]); err != nil {
				return nil, err
			}
		}
	}
	for i := range ways {
		ways[i] = ways[i].timed()
	}
	return ways, nil
}

// timed is s without the first round.
func (s seen) timed() seen {
	return seen{s.Steps[1:], s.Syncs[1:], s.Sent[1:], s.SentBySync[1:], s.Digests[1:]}
}

// stack is layers with residual connections between them, on one rank.
type stack struct {
	world  *switchyard.World
	layers []*switchyard.Layer
	x      []blas32.General // of each layer
	dy, d  blas32.General   // of the stack's output, and of one layer's
	optim  *expert.SGD
}

// newStack makes a stack whose parameters and tokens depend on the options and the rank alone.
func (o *options) newStack(w *switchyard.World, piece int) (*stack, error) {
	all := make([]transport.Rank, w.Size())
	for r := range all {
		all[r] = transport.Rank(r)
	}
	whole, err := w.Group(all) // whose layers are numbered from the first
	if err != nil {
		return nil, err
	}
	s := &stack{world: whole, optim: expert.NewSGD(1e-3)}
	for range o.Layers {
		l, err := switchyard.NewLayer(whole, switchyard.Config{
			Dim: o.Dim, Experts: o.Experts, Router: router.TopK{K: o.K}, Expert: expert.SwiGLU{Hidden: o.Hidden},
			ExpertParallel: o.Ranks / o.Copies, Group: switchyard.PerRank, Seed: 1,
			Overlap: switchyard.Overlap{Degree: o.Overlap, GradientPiece: piece},
		})
		if err != nil {
			return nil, err
		}
		s.layers, s.x = append(s.layers, l), append(s.x, workload.NewMatrix(o.Tokens, o.Dim))
	}
	s.dy, s.d = workload.NewMatrix(o.Tokens, o.Dim), workload.NewMatrix(o.Tokens, o.Dim)
	random := rand.New(rand.NewPCG(7, uint64(w.Rank())))
	for i := range s.dy.Data {
		s.x[0].Data[i], s.dy.Data[i] = random.Float32()-0.5, random.Float32()-0.5
	}
	return s, nil
}

// step is one training step, begun when all ranks are ready.
func (s *stack) step(ctx context.Context, to *seen) error {
	if err := s.world.Comm().Barrier(ctx); err != nil {
		return err
	}
	before, begin := s.world.WireBytes(), time.Now()
	digest, err := s.passes(ctx)
	if err != nil {
		return err
	}
	sent, back := s.world.WireBytes(), time.Now()
	for _, l := range slices.Backward(s.layers) {
		if err := l.Step(ctx, s.optim); err != nil {
			return err
		}
	}
	end, after := time.Now(), s.world.WireBytes()
	to.Steps, to.Syncs = append(to.Steps, end.Sub(begin)), append(to.Syncs, end.Sub(back))
	to.Sent, to.SentBySync = append(to.Sent, after-before), append(to.SentBySync, after-sent)
	to.Digests = append(to.Digests, digest)
	return nil
}

// passes goes forward and back, and returns a digest of the results, which depend on all
// parameters.
func (s *stack) passes(ctx context.Context) (digest uint64, err error) {
	h := fnv.New64a()
	for i, l := range s.layers {
		y, err := l.Forward(ctx, s.x[i])
		if err != nil {
			return 0, err
		}
		if i+1 < len(s.layers) {
			add(s.x[i+1], s.x[i], y)
		} else {
			write(h, y)
		}
	}
	copy(s.d.Data, s.dy.Data)
	for _, l := range slices.Backward(s.layers) {
		dx, err := l.Backward(ctx, s.d)
		if err != nil {
			return 0, err
		}
		add(s.d, s.d, dx)
	}
	write(h, s.d)
	return h.Sum64(), nil
}

// write writes the numbers of a matrix.
func write(to io.Writer, m blas32.General) {
	for t := range m.Rows {
		_, _ = to.Write(view.Bytes(m.Data[t*m.Stride:][:m.Cols])) // a hash takes all
	}
}

// add writes a + b to a matrix of the same shape.
func add(to, a, b blas32.General) {
	for t := range to.Rows {
		row := b.Data[t*b.Stride:][:b.Cols]
		for c, v := range row {
			to.Data[t*to.Stride+c] = a.Data[t*a.Stride+c] + v
		}
	}
}
