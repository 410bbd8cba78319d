package switchyard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
)

// ending is a context that ends after it has been looked at a number of times.
type ending struct {
	context.Context
	mu   sync.Mutex
	left int
	done chan struct{}
}

func endingAfter(looks int) *ending {
	return &ending{Context: context.Background(), left: looks, done: make(chan struct{})}
}

func (e *ending) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.left > 0 {
		if e.left--; e.left == 0 {
			close(e.done)
		}
		return nil
	}
	return context.Canceled
}

func (e *ending) Done() <-chan struct{}       { return e.done }
func (e *ending) Deadline() (time.Time, bool) { return time.Time{}, false }
func (e *ending) Value(any) any               { return nil }

// beforehand is what must have been called before an operation makes sense.
func beforehand(op string, l *Layer, x blas32.General) error {
	ofGradients := slices.Contains([]string{"Step", "Gradients", "GradNorm", "ClipGradients", "ScaleGradients"}, op)
	if op == "Backward" || ofGradients {
		if _, err := l.Forward(context.Background(), x); err != nil {
			return err
		}
	}
	if ofGradients {
		_, err := l.Backward(context.Background(), x)
		return err
	}
	return nil
}

// TestALayerThatFailsStaysFailed: a context that ends in the middle of a call ends the layer. Each
// later call, and those of its passes, says so at once, and where it was, and none panics or waits.
func TestALayerThatFailsStaysFailed(t *testing.T) {
	cfg := smallConfig()
	cfg.ExpertParallel = 2
	x := randomMatrix(rand.New(rand.NewPCG(1, 1)), 4, cfg.Dim)
	for _, op := range []string{"Forward", "ForwardBatch", "Eval", "EvalBatch", "Backward", "Step", "Gradients", "GradNorm", "ClipGradients", "ScaleGradients", "SetFrozen", "Parameters"} {
		for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
			l, err := NewLayer(w, cfg)
			require.NoError(t, err)
			passes := [2]*Pass{}
			if op == "Forward" || op == "Eval" { // which passes in flight do not disturb
				passes = twoPasses(t, l, x)
			}
			require.NoError(t, beforehand(op, l, x))
			if w.Rank() == 1 {
				return nil // it never comes, and leaves
			}
			first := calls(l, x)[op](endingAfter(1))
			require.ErrorIs(t, first, ErrFailed, op)
			for range 2 {
				for name, call := range calls(l, x) {
					err := call(context.Background())
					require.ErrorIs(t, err, ErrFailed, "%s after %s", name, op)
					require.ErrorContains(t, err, fmt.Sprintf("switchyard: %s: this layer failed earlier, in %s: ", name, op))
					require.ErrorIs(t, err, first)
				}
				for i, p := range passes {
					for name, call := range passCalls(p, x) {
						if p != nil {
							require.ErrorIs(t, call(context.Background()), first, "%s of pass %d after %s", name, i, op)
						}
					}
				}
			}
			return nil
		}) {
			require.NoError(t, err, "rank %d, %s", rank, op)
		}
	}
}

// breaking is experts that panic in a pass, and a gate that fails, where they are told to.
type breaking struct {
	expert.Expert
	router.Router
	at string
}

func (b *breaking) String() string { return "breaking" }

type breakingExpert struct{ *breaking }

func (b breakingExpert) New(s expert.Shape) (expert.Group, error) {
	g, err := b.Expert.New(s)
	return breakingGroup{g.(expert.SplitBackward), b.breaking}, err
}

type breakingGroup struct {
	expert.SplitBackward
	b *breaking
}

func (g breakingGroup) Forward(x blas32.General, rows expert.Rows) (blas32.General, expert.Saved) {
	if g.b.at == "Forward" {
		panic("expert broke")
	}
	return g.SplitBackward.Forward(x, rows)
}

type breakingRouter struct{ *breaking }

func (b breakingRouter) New(s router.Shape) (router.Gate, error) {
	g, err := b.Router.New(s)
	return breakingGate{g, b.breaking}, err
}

type breakingGate struct {
	router.Gate
	b *breaking
}

func (g breakingGate) Backward(d *router.Decision, x blas32.General, grad router.Gradient) error {
	if g.b.at == "Backward" {
		return errors.New("gate broke")
	}
	return g.Gate.Backward(d, x, grad)
}

// TestWhatBreaksInAPassEndsTheLayer: an expert that panics, and a gate that returns an error after
// its rank has taken part in the pass.
func TestWhatBreaksInAPassEndsTheLayer(t *testing.T) {
	x := randomMatrix(rand.New(rand.NewPCG(1, 1)), 4, 6)
	for _, at := range []string{"Forward", "Backward"} {
		alone(t, func(w *World) {
			cfg := smallConfig()
			b := &breaking{Expert: cfg.Expert, Router: cfg.Router}
			cfg.Expert, cfg.Router = breakingExpert{b}, breakingRouter{b}
			l, err := NewLayer(w, cfg)
			require.NoError(t, err)
			require.NoError(t, beforehand(at, l, x))
			b.at = at
			if at == "Forward" {
				require.PanicsWithValue(t, "expert broke", func() { _, _ = l.Forward(t.Context(), x) })
			} else {
				_, err := l.Backward(t.Context(), x)
				require.ErrorIs(t, err, ErrFailed)
				require.ErrorContains(t, err, "gate broke")
			}
			b.at = ""
			for name, call := range calls(l, x) {
				require.ErrorIs(t, call(t.Context()), ErrFailed, "%s after %s", name, at)
			}
		})
	}
}
