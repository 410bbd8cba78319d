package gradients_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport"
)

// recorder is an optimizer that keeps what it is given.
type recorder struct {
	fault error
	sets  []*param.Set
	sums  [][]float32
}

func (o *recorder) Validate() error { return o.fault }

func (o *recorder) Update(p *param.Set, grad []float32) {
	o.sets = append(o.sets, p)
	o.sums = append(o.sums, append([]float32(nil), grad...))
	p.Value[0]++
}

// TestStep gives every set its sum, in a fixed order, and begins a new step.
func TestStep(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	passes := []batch{randomBatch(r, 4), randomBatch(r, 4)}
	onRanks(t, 2, 1, func(ctx context.Context, k *rank) error {
		reducer := gradients.New(k.cfg)
		k.goBack(reducer, passes[0], 2, 0)
		k.goBack(reducer, passes[1], 2, 0)
		o := new(recorder)
		if dropped, err := reducer.Ready(ctx, o); err != nil || dropped {
			return errors.Join(errors.New("not ready"), err)
		}
		if err := reducer.ReduceAll(ctx); err != nil {
			return err
		}
		want := flat(reducer.Sums())
		if err := reducer.Step(ctx, o); err != nil {
			return err
		}
		s := k.cfg.Sets
		require.Equal(t, []*param.Set{s.Gate, s.Experts[0], s.Experts[1], s.Shared, s.Gains}, o.sets)
		for i, at := range [][2]int{{0, 2}, {6, 10}, {10, 14}, {2, 5}, {5, 6}} {
			require.Equal(t, want[at[0]:at[1]], o.sums[i])
		}
		k.goBack(reducer, passes[1], 2, 0)
		if err := reducer.ReduceAll(ctx); err != nil {
			return err
		}
		for i, want := range reference(passes[1:], 0) {
			require.InDelta(t, want, float64(flat(reducer.Sums())[i]), 1e-5)
		}
		return nil
	})
}

// TestAStepThatIsRefused fails on every rank, in the name of the rank at fault, and leaves the
// gradients.
func TestAStepThatIsRefused(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	b := randomBatch(r, 4)
	why := errors.New("no rate")
	onRanks(t, 3, 1, func(ctx context.Context, k *rank) error {
		reducer := gradients.New(k.cfg)
		k.goBack(reducer, b, 3, 0)
		o := new(recorder)
		if k.me == 1 {
			o.fault = why
		}
		dropped, err := reducer.Ready(ctx, o)
		require.True(t, lifecycle.AgreedOn(err))
		require.Equal(t, transport.Rank(11), transport.CulpritOf(err))
		require.Equal(t, k.me == 1, errors.Is(err, why))
		require.False(t, dropped)

		sgd := expert.NewSGD(0.1)
		if k.me == 2 {
			sgd = expert.NewSGD(0.2)
		}
		_, err = reducer.Ready(ctx, sgd)
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.True(t, lifecycle.AgreedOn(err))

		o = new(recorder)
		if _, err = reducer.Ready(ctx, o); err != nil {
			return err
		}
		if err = reducer.Step(ctx, o); err != nil {
			return err
		}
		require.InDelta(t, reference([]batch{b}, 0)[2], float64(o.sums[3][0]), 1e-5)
		return nil
	})
}

// TestOtherTokensThanAnnounced on one rank, in two passes, drop the step on every rank.
func TestOtherTokensThanAnnounced(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	b := randomBatch(r, 4)
	tokens := 0
	for _, n := range b.tokens {
		tokens += n
	}
	for want, announced := range map[string][2]int{
		"passes of one step gave different numbers": {2 * tokens, tokens},
		"Batch.StepTokens announced":                {2*tokens + 1, 2*tokens + 1},
	} {
		onRanks(t, 2, 2, func(ctx context.Context, k *rank) error {
			reducer := gradients.New(k.cfg)
			said := [2]int{2 * tokens, 2 * tokens}
			if k.me == 1 {
				said = announced
			}
			k.goBack(reducer, b, 2, said[0])
			k.goBack(reducer, b, 2, said[1])
			dropped, err := reducer.Ready(ctx, new(recorder))
			require.True(t, dropped)
			require.True(t, lifecycle.AgreedOn(err))
			require.Equal(t, transport.Rank(11), transport.CulpritOf(err))
			if k.me == 1 {
				require.ErrorContains(t, err, want)
			} else {
				require.ErrorContains(t, err, "other tokens came than it announced")
			}
			// The next step has nothing of the one that was dropped.
			k.goBack(reducer, b, 2, tokens)
			o := new(recorder)
			if _, err := reducer.Ready(ctx, o); err != nil {
				return err
			}
			if err := reducer.Step(ctx, o); err != nil {
				return err
			}
			require.InDelta(t, reference([]batch{b}, tokens)[0], float64(o.sums[0][0]), 1e-5)
			return nil
		})
	}
}

// TestALayerWithoutParameters takes a step.
func TestALayerWithoutParameters(t *testing.T) {
	onRanks(t, 2, 2, func(ctx context.Context, k *rank) error {
		k.gate.params, k.gate.losses = nil, nil
		k.cfg.Sets.Gate, k.cfg.Sets.Shared, k.cfg.Sets.Gains = nil, nil, nil
		k.cfg.Sets.Experts = []*param.Set{nil}
		reducer := gradients.New(k.cfg)
		p := reducer.Begin(1, gradients.Comms{})
		p.Do(func() {})
		p.Defer(gradients.Batch{Tokens: []int{1, 1}, Leaves: []int{1, 1}})
		o := new(recorder)
		if _, err := reducer.Ready(ctx, o); err != nil {
			return err
		}
		err := reducer.Step(ctx, o)
		require.Empty(t, o.sets)
		return err
	})
}
