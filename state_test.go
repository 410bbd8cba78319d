package switchyard

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// calls are all methods of a layer that may fail, each given what is right.
func calls(l *Layer, x blas32.General) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Forward":      func(ctx context.Context) error { _, err := l.Forward(ctx, x); return err },
		"ForwardBatch": func(ctx context.Context) error { _, err := l.ForwardBatch(ctx, x, router.Batch{}); return err },
		"Eval":         func(ctx context.Context) error { _, err := l.Eval(ctx, x); return err },
		"EvalBatch":    func(ctx context.Context) error { _, err := l.EvalBatch(ctx, x, router.Batch{}); return err },
		"Backward":     func(ctx context.Context) error { _, err := l.Backward(ctx, x); return err },
		"Step":         func(ctx context.Context) error { return l.Step(ctx, expert.NewSGD(0.1)) },
		"Parameters":   func(ctx context.Context) error { _, err := l.Parameters(ctx); return err },
		"Gradients":    func(ctx context.Context) error { _, err := l.Gradients(ctx); return err },
		"NewPass": func(context.Context) error {
			p, err := l.NewPass()
			if err != nil {
				return err
			}
			return released(p)
		},
		"ForwardPass": func(ctx context.Context) error {
			p, err := l.ForwardPass(ctx, x, router.Batch{})
			if err != nil {
				return err
			}
			return released(p)
		},
		"Load":      func(context.Context) error { return l.Load(nil) },
		"State":     func(context.Context) error { _, err := l.State(nil); return err },
		"SetDegree": func(context.Context) error { return l.SetDegree(1, 1) },
		"Discard":   func(context.Context) error { return l.Discard() },

		"GradNorm":         func(ctx context.Context) error { _, err := l.GradNorm(ctx); return err },
		"ClipGradients":    func(ctx context.Context) error { _, err := ClipGradients(ctx, 2, l); return err },
		"ScaleGradients":   func(ctx context.Context) error { return l.ScaleGradients(ctx, 0.5) },
		"DiscardGradients": func(context.Context) error { return l.DiscardGradients() },
		"SetFrozen":        func(ctx context.Context) error { return l.SetFrozen(ctx) },
	}
}

// withContext are those that take a context.
func withContext(l *Layer, x blas32.General) map[string]func(ctx context.Context) error {
	all := calls(l, x)
	for _, name := range []string{"NewPass", "Load", "State", "SetDegree", "Discard", "DiscardGradients"} {
		delete(all, name)
	}
	return all
}

// released releases a pass, once no other goroutine is in a method that needs every pass idle.
func released(p *Pass) (err error) {
	for err = p.Release(); errors.Is(err, ErrInUse); err = p.Release() {
		runtime.Gosched()
	}
	return err
}

// TestACallWithAnEndedContextDoesNothing repeats every call of a step with a context that has ended
// before the one that counts, on one rank or on all, and expects the bits of a step without.
func TestACallWithAnEndedContextDoesNothing(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	r := rand.New(rand.NewPCG(1, 1))
	x, dy := randomMatrix(r, 8, 6), randomMatrix(r, 8, 6)
	train := func(worlds []*World, interrupt func(w *World) bool) [][]Tensor {
		after := make([][]Tensor, len(worlds))
		for rank, err := range onRanks(worlds, func(w *World) error {
			l, err := NewLayer(w, smallConfig())
			if err != nil {
				return err
			}
			each := func(do func(ctx context.Context) error) error {
				if interrupt(w) {
					for name, call := range withContext(l, x) {
						for range 2 {
							err := call(ended)
							require.ErrorIs(t, err, context.Canceled, name)
							require.NotErrorIs(t, err, ErrFailed, name)
							require.Equal(t, w.Rank(), transport.CulpritOf(err))
						}
					}
				}
				return do(context.Background())
			}
			for range 2 {
				for range 2 {
					if err := each(func(ctx context.Context) error { _, err := l.Forward(ctx, x); return err }); err != nil {
						return err
					}
					if err := each(func(ctx context.Context) error { _, err := l.Backward(ctx, dy); return err }); err != nil {
						return err
					}
				}
				if err := each(func(ctx context.Context) error { return l.Step(ctx, expert.NewSGD(0.1)) }); err != nil {
					return err
				}
			}
			return each(func(ctx context.Context) (err error) {
				after[w.Rank()], err = l.Parameters(ctx)
				return err
			})
		}) {
			require.NoError(t, err, "rank %d", rank)
		}
		return after
	}
	want := train(inprocWorlds(2), func(*World) bool { return false })
	for name, interrupt := range map[string]func(w *World) bool{
		"one": func(w *World) bool { return w.Rank() == 1 }, "all": func(*World) bool { return true },
	} {
		require.Equal(t, want, train(inprocWorlds(2), interrupt), name)
	}
}
