package switchyard

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport"
)

// stepOn takes a batch forward and backward on l, and a step.
func stepOn(ctx context.Context, l *Layer, x blas32.General, o expert.Optimizer) error {
	if _, err := l.Forward(ctx, x); err != nil {
		return err
	}
	if _, err := l.Backward(ctx, x); err != nil {
		return err
	}
	return l.Step(ctx, o)
}

// TestARateOf0TrainsNothing, and the step after it moves again: a warm-up from 0 and a decay to 0
// do what they say.
func TestARateOf0TrainsNothing(t *testing.T) {
	adam, sgd := expert.NewAdam(0), expert.NewSGD(0)
	for name, o := range map[string]struct {
		optimizer expert.Optimizer
		rate      *float32
	}{"adam": {adam, &adam.LR}, "sgd": {sgd, &sgd.LR}} {
		alone(t, func(w *World) {
			l, err := NewLayer(w, smallConfig())
			require.NoError(t, err)
			x := randomMatrix(rand.New(rand.NewPCG(3, 3)), 4, 6)
			last, err := l.Parameters(t.Context())
			require.NoError(t, err)
			for _, rate := range []float32{0, 0.1, 0} {
				*o.rate = rate
				require.NoError(t, stepOn(t.Context(), l, x, o.optimizer))
				now, err := l.Parameters(t.Context())
				require.NoError(t, err)
				if rate == 0 {
					require.Equal(t, last, now, name)
				} else {
					require.NotEqual(t, last, now, name)
				}
				last = now
			}
		})
	}
}

// TestAWrongOptimizerFailsTheStepEverywhere: with an optimizer that one rank has not set, or set to
// other numbers, no rank's parameters change, the others name that rank, and the step can be
// repeated. The gradients, asked for before, are all summed then: nothing but the check itself
// makes the ranks wait for each other.
func TestAWrongOptimizerFailsTheStepEverywhere(t *testing.T) {
	const silent = "its own error says why"
	grouped := expert.NewSGD(0.1)
	grouped.Groups = []expert.ParamGroup{{Names: []string{"b?"}, WeightDecay: new(float32(0))}}
	for name, c := range map[string]struct {
		wrong       expert.Optimizer
		here, there string
	}{
		"literal":  {&expert.Adam{}, "expert.NewAdam", silent},
		"none":     {nil, "no optimizer", silent},
		"NaN":      {expert.NewSGD(float32(math.NaN())), "SGD.LR is NaN", silent},
		"other LR": {expert.NewSGD(0.5), "is not the one of this rank", "is not the one of this rank, SGD{LR:0.1"},
		"groups":   {grouped, "is not the one of this rank", "is not the one of this rank, SGD{LR:0.1"},
		"another":  {expert.NewAdam(0.1), "is not the one of this rank", "is not the one of this rank"},
	} {
		t.Run(name, func(t *testing.T) {
			// Of each rank: before, after the step that fails, and after the one that does not.
			var states [3][3][]Tensor
			refused := make([]error, 3)
			for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
				ctx, me := context.Background(), w.Rank()
				l, err := NewLayer(w, smallConfig())
				if err != nil {
					return err
				}
				x := randomMatrix(rand.New(rand.NewPCG(3, 3)), 4, 6)
				if _, err = l.Forward(ctx, x); err != nil {
					return err
				}
				if _, err = l.Backward(ctx, x); err != nil {
					return err
				}
				if _, err = l.Gradients(ctx); err != nil {
					return err
				}
				right := expert.NewSGD(0.1)
				var o expert.Optimizer = right
				if me == 1 {
					o = c.wrong
				}
				if states[me][0], err = l.Parameters(ctx); err != nil {
					return err
				}
				refused[me] = l.Step(ctx, o)
				if states[me][1], err = l.Parameters(ctx); err != nil {
					return err
				}
				err = l.Step(ctx, right)
				var last error
				states[me][2], last = l.Parameters(ctx)
				return errors.Join(err, last)
			}) {
				require.NoError(t, err, "rank %d", rank)
			}
			for rank, s := range states {
				require.Equal(t, s[0], s[1], "rank %d", rank)
				require.NotEqual(t, s[0], s[2], "rank %d", rank)
				require.Equal(t, states[0][2], s[2], "rank %d", rank)
			}
			require.ErrorContains(t, refused[1], c.here)
			require.ErrorContains(t, refused[0], c.there)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(refused[0]))
			require.Equal(t, transport.Rank(1), transport.CulpritOf(refused[2]))
		})
	}
}

// unchecked is an optimizer from outside that only updates.
type unchecked struct{}

func (unchecked) Update(p *param.Set, grad []float32) {
	for i, g := range grad {
		p.Value[i] -= g
	}
}

// TestOptimizersNeedNotValidate: one that only updates works.
func TestOptimizersNeedNotValidate(t *testing.T) {
	x := randomMatrix(rand.New(rand.NewPCG(3, 3)), 4, 6)
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		l, err := NewLayer(w, smallConfig())
		if err != nil {
			return err
		}
		return stepOn(context.Background(), l, x, unchecked{})
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}
