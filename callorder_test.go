package switchyard

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
)

// interlude is what a test calls between a Forward and its Backward.
type interlude func(l *Layer, x blas32.General, side router.Batch) error

// trainBetween takes two steps of two passes on three ranks, with something in between, and returns
// all that they leave, as text.
func trainBetween(t *testing.T, cfg Config, between interlude) [3]string {
	t.Helper()
	var left [3]string
	for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
		ctx, rank := context.Background(), int(w.Rank())
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		x, dy, side := paddedBatch(rank, 0)
		for range 2 {
			for range 2 {
				y, err := l.ForwardBatch(ctx, x, side)
				if err != nil {
					return err
				}
				if err := between(l, x, side); err != nil {
					return err
				}
				dx, err := l.Backward(ctx, dy)
				if err != nil {
					return err
				}
				left[rank] += fmt.Sprint(y.Data, dx.Data)
			}
			if err := l.Step(ctx, expert.NewSGD(0.1)); err != nil {
				return err
			}
		}
		p, err := l.Parameters(ctx)
		left[rank] += fmt.Sprint(p)
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	return left
}

// TestWhatMayStandBetweenForwardAndBackward: evaluations of other tokens, and the same pass again,
// change no bit, with any router, with shared experts, in parts, and compressed.
func TestWhatMayStandBetweenForwardAndBackward(t *testing.T) {
	list := map[string]Config{}
	for name, r := range everyRouter() {
		list[name] = Config{Dim: 6, Experts: 4, Group: 4, Seed: 9, Router: r, Expert: expert.SwiGLU{Hidden: 5}, Shared: expert.FFN{Hidden: 3}}
	}
	compressed, parts, halves, copies := list["topk"], list["topk"], list["soft"], list["choice of all"]
	compressed.Compression = Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.5}}
	parts.Overlap.Degree, halves.Overlap.Degree, copies.ExpertParallel = 3, 2, 1
	list["compressed"], list["parts"], list["halves"], list["copies"] = compressed, parts, halves, copies
	for name, cfg := range list {
		t.Run(name, func(t *testing.T) {
			want := trainBetween(t, cfg, func(*Layer, blas32.General, router.Batch) error { return nil })
			between := map[string]interlude{"evaluation": evaluated, "again": again, "discarded": discarded}
			for _, what := range fewer([]string{"evaluation", "again", "discarded"}, []string{"evaluation", "discarded"}[len(name)%2]) {
				require.Equal(t, want, trainBetween(t, cfg, between[what]), what)
			}
		})
	}
}

// evaluated evaluates the tokens with the side information of another rank, and no tokens.
func evaluated(l *Layer, x blas32.General, _ router.Batch) error {
	_, _, other := paddedBatch(int(l.world.Rank()+1)%3, 0)
	for _, n := range []int{x.Rows, 0} {
		if n == 0 {
			x, other = blas32.General{}, router.Batch{}
		}
		if _, err := l.EvalBatch(context.Background(), x, other); err != nil {
			return err
		}
	}
	return nil
}

// again runs the same pass again.
func again(l *Layer, x blas32.General, side router.Batch) error {
	_, err := l.ForwardBatch(context.Background(), x, side)
	return err
}

// discarded discards the pass and two others before it runs again.
func discarded(l *Layer, x blas32.General, side router.Batch) error {
	if err := l.Discard(); err != nil {
		return err
	}
	for _, seed := range []uint64{1, 2} {
		other := randomMatrix(rand.New(rand.NewPCG(seed, 1)), x.Rows, x.Cols)
		if err := again(l, other, side); err != nil {
			return err
		}
		if err := l.Discard(); err != nil {
			return err
		}
	}
	return again(l, x, side)
}

// TestOrderOfCalls: what is called out of turn is an error that says what to call, and does
// nothing.
func TestOrderOfCalls(t *testing.T) {
	alone(t, func(w *World) {
		l, err := NewLayer(w, smallConfig())
		require.NoError(t, err)
		ctx, r := t.Context(), rand.New(rand.NewPCG(4, 4))
		a, b := randomMatrix(r, 5, 6), randomMatrix(r, 5, 6)
		refuse := func(err error, why string) {
			t.Helper()
			require.ErrorContains(t, err, why)
			require.NotErrorIs(t, err, ErrFailed)
		}
		_, err = l.Backward(ctx, a)
		refuse(err, "switchyard: rank 0: Backward: no Forward waits for it")
		refuse(l.Step(ctx, expert.NewSGD(0.1)), "switchyard: rank 0: Step: there has been no Backward since the last Step")
		_, err = l.Gradients(ctx)
		refuse(err, "Gradients: there has been no Backward")
		_, err = l.GradNorm(ctx)
		refuse(err, "rank 0: GradNorm: there has been no Backward since the last Step (layer 1)")
		_, err = ClipGradients(ctx, 1, l)
		refuse(err, "ClipGradients: there has been no Backward")
		refuse(l.ScaleGradients(ctx, 1), "ScaleGradients: there has been no Backward")
		require.NoError(t, l.DiscardGradients(), "there are none")

		require.NoError(t, calls(l, a)["Forward"](ctx))
		_, err = l.Forward(ctx, b)
		refuse(err, "Forward: the Forward before, of another batch, has had no Backward: call Backward, or Discard")
		_, err = l.Forward(ctx, part(a, 0, 4))
		refuse(err, "of another batch")
		_, err = l.ForwardBatch(ctx, a, router.Batch{Padding: []bool{true, false, false, false, false}})
		refuse(err, "of another batch")
		_, err = l.ForwardBatch(ctx, a, router.Batch{Micro: 1})
		refuse(err, "of another batch")
		refuse(l.Step(ctx, expert.NewSGD(0.1)), "Step: a Forward has had no Backward")
		refuse(l.Load(nil), "Load: a Forward has had no Backward")
		_, err = l.GradNorm(ctx)
		refuse(err, "GradNorm: a Forward has had no Backward")
		refuse(l.ScaleGradients(ctx, 1), "ScaleGradients: a Forward has had no Backward")
		refuse(l.DiscardGradients(), "DiscardGradients: a Forward has had no Backward; call Backward, or Discard")
		_, err = l.Backward(ctx, part(a, 0, 4))
		refuse(err, "Backward: dy has 4 rows, want 5 as the last Forward's x")

		kept := a.Data[7]
		a.Data[7]++
		_, err = l.Backward(ctx, b)
		refuse(err, "Backward: x has been changed since Forward")
		_, err = l.Forward(ctx, a)
		refuse(err, "of another batch")
		a.Data[7] = kept
		_, err = l.Backward(ctx, b)
		require.NoError(t, err)
		_, err = l.Backward(ctx, b)
		refuse(err, "no Forward waits for it")
		for _, factor := range []float64{math.NaN(), math.Inf(-1)} {
			refuse(l.ScaleGradients(ctx, float32(factor)), "rank 0: ScaleGradients: the factor is ")
		}
		for _, most := range []float64{0, -1, math.NaN()} {
			_, err = ClipGradients(ctx, most, l)
			refuse(err, "rank 0: ClipGradients: the greatest norm is ")
		}
		require.NoError(t, l.Step(ctx, expert.NewSGD(0.1)))
		refuse(l.Step(ctx, expert.NewSGD(0.1)), "no Backward since the last Step")
		require.NoError(t, calls(l, a)["Forward"](ctx))
		require.NoError(t, calls(l, a)["Backward"](ctx))
		require.NoError(t, l.DiscardGradients())
		refuse(l.Step(ctx, expert.NewSGD(0.1)), "no Backward since the last Step")
		//nolint:staticcheck // that is the mistake
		refuse(calls(l, a)["Forward"](nil), "the context is nil")
	})
}

// TestPartsOfANorm: a wrong list of parts is an error that says what is wrong with it, and the
// parts can be used afterwards.
func TestPartsOfANorm(t *testing.T) {
	alone(t, func(w *World) {
		alone(t, func(other *World) {
			ctx, x := t.Context(), randomMatrix(rand.New(rand.NewPCG(4, 4)), 5, 6)
			var layers [3]*Layer
			for i, of := range []*World{w, w, other} {
				l, err := NewLayer(of, smallConfig())
				require.NoError(t, err)
				layers[i] = l
				if i != 1 {
					require.NoError(t, calls(l, x)["Forward"](ctx))
					require.NoError(t, calls(l, x)["Backward"](ctx))
				}
			}
			var none *Layer
			for text, parts := range map[string][]Trainable{
				"GradNorm: of no part of a model":                            nil,
				"GradNorm: part 1 is nil":                                    {layers[0], none},
				"GradNorm: part 0 is nil":                                    {nil},
				"GradNorm: the layer was not made by NewLayer":               {new(Layer)},
				"rank 0: GradNorm: in use by another goroutine":              {layers[0], layers[0]},
				"no Backward since the last Step (layer 2)":                  {layers[0], layers[1]},
				"rank 0: GradNorm: layer 1 is of another world than layer 1": {layers[0], layers[2]},
			} {
				_, err := GradNorm(ctx, parts...)
				require.ErrorContains(t, err, text)
				require.NotErrorIs(t, err, ErrFailed)
			}
			_, err := GradNorm(ctx, layers[0])
			require.NoError(t, err)
		})
	})
}

// blocking is an expert whose Forward says that it has begun, and waits.
type blocking struct {
	expert.Expert
	begun, go_ chan struct{}
}

func (b blocking) New(s expert.Shape) (expert.Group, error) {
	g, err := b.Expert.New(s)
	return blockingGroup{g.(expert.SplitBackward), b}, err
}

type blockingGroup struct {
	expert.SplitBackward
	b blocking
}

func (g blockingGroup) Forward(x blas32.General, rows expert.Rows) (blas32.General, expert.Saved) {
	g.b.begun <- struct{}{}
	<-g.b.go_
	return g.SplitBackward.Forward(x, rows)
}

// TestASecondGoroutineIsAnError at once, where the first is in a method of the layer or of a pass
// and the second wants what cannot be beside it; what the first does is not disturbed. What a layer
// tells of itself anybody may ask for at any time.
func TestASecondGoroutineIsAnError(t *testing.T) {
	alone(t, func(w *World) {
		cfg := smallConfig()
		b := blocking{cfg.Expert, make(chan struct{}), make(chan struct{})}
		cfg.Expert = b
		l, err := NewLayer(w, cfg)
		require.NoError(t, err)
		x := randomMatrix(rand.New(rand.NewPCG(4, 4)), 5, 6)
		p, err := l.NewPass()
		require.NoError(t, err)
		for first, forward := range map[string]func() error{
			"the layer is in Forward": func() error { _, err := l.Forward(t.Context(), x); return err },
			"pass 1 is in Forward":    func() error { _, err := p.Forward(t.Context(), x, router.Batch{}); return err },
		} {
			done := make(chan error)
			go func() { done <- forward() }()
			<-b.begun
			besides := []string{"Forward", "ForwardBatch", "Eval", "EvalBatch", "Backward", "Discard", "NewPass", "ForwardPass"}
			all := calls(l, x)
			if first != "the layer is in Forward" {
				all = passCalls(p, x)
				maps.Copy(all, calls(l, x))
				maps.DeleteFunc(all, func(name string, _ func(context.Context) error) bool { return slices.Contains(besides, name) })
			}
			for name, call := range all {
				err := call(t.Context())
				require.ErrorIs(t, err, ErrInUse, name)
				require.NotErrorIs(t, err, ErrFailed, name)
				require.ErrorContains(t, err, first, name)
			}
			_, _ = l.Stats(), l.OverlapProfile()
			l.Observe(nil)
			b.go_ <- struct{}{}
			require.NoError(t, <-done)
		}
		_, err = l.Backward(t.Context(), x)
		require.NoError(t, err)
		_, err = p.Backward(t.Context(), x)
		require.NoError(t, err)
		require.NoError(t, l.Step(t.Context(), expert.NewSGD(0.1)))
	})
}

// TestManyGoroutines call whatever they like of one layer: each call succeeds, or is an error of
// misuse, and the layer is sound at the end.
func TestManyGoroutines(t *testing.T) {
	alone(t, func(w *World) {
		l, err := NewLayer(w, smallConfig())
		require.NoError(t, err)
		begin, err := l.Parameters(t.Context())
		require.NoError(t, err)
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				x := randomMatrix(rand.New(rand.NewPCG(4, uint64(g))), 5, 6)
				for range 20 {
					for name, call := range calls(l, x) {
						if err := call(t.Context()); err != nil {
							require.NotErrorIs(t, err, ErrFailed, name)
						}
						_ = l.Stats()
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, l.Discard())
		require.NoError(t, l.Load(begin), "the steps may have led to any parameters")
		x := randomMatrix(rand.New(rand.NewPCG(5, 5)), 5, 6)
		require.NoError(t, stepOn(t.Context(), l, x, expert.NewSGD(0.1)))
	})
}
