package gradients_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/param"
)

// TestSumsInGapsHaveTheSameBits as sums in whole, in pieces of any size, whether rows travel or not
// until the sums are asked for, and with kinds frozen.
func TestSumsInGapsHaveTheSameBits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 2))
	passes := []batch{randomBatch(r, 9), randomBatch(r, 4), randomBatch(r, 7)}
	for _, stepTokens := range []int{0, 100} {
		for _, of := range [][2]int{{1, 1}, {2, 1}, {2, 2}, {3, 1}, {4, 2}} {
			for _, piece := range []int{1, 24, 1 << 20} {
				for _, frozen := range [][]param.Kind{nil, {param.Expert}, {param.Gate, param.Shared}} {
					onRanks(t, of[0], of[1], func(ctx context.Context, k *rank) error {
						want, err := k.sumsOf(ctx, passes, of[0], stepTokens, frozen)
						if err != nil {
							return err
						}
						if err := k.inGaps(piece); err != nil {
							return err
						}
						got, err := k.sumsOf(ctx, passes, of[0], stepTokens, frozen)
						if err != nil {
							return err
						}
						if !slices.Equal(want, got) {
							t.Errorf("%d, %v, pieces of %d, frozen %v: %v, want %v", stepTokens, of, piece, frozen, got, want)
						}
						return nil
					})
				}
			}
		}
	}
}

// sumsOf returns the sums of two steps, of which the second is in the memory of the first. On half
// of the ranks rows travel all the time.
func (k *rank) sumsOf(ctx context.Context, passes []batch, ranks, stepTokens int, frozen []param.Kind) (all []float32, err error) {
	reducer := gradients.New(k.cfg)
	if err := reducer.SetFrozen(ctx, frozen); err != nil {
		return nil, err
	}
	if q := k.cfg.Gaps.Queue; q != nil && k.me%2 == 1 {
		q.Begin()
		defer q.End()
	}
	for range 2 {
		for _, b := range passes {
			k.goBack(reducer, b, ranks, stepTokens)
			if err := reducer.Reduce(ctx); err != nil {
				return nil, err
			}
		}
		k.goBack(reducer, passes[0], ranks, stepTokens)
		k.goBack(reducer, passes[1], ranks, stepTokens) // two at a time: the one after the other
		if err := reducer.ReduceAll(ctx); err != nil {
			return nil, err
		}
		all = append(all, flat(reducer.Sums())...)
		if err := reducer.Discard(ctx); err != nil {
			return nil, err
		}
	}
	return all, reducer.SetFrozen(ctx, nil)
}

// TestSumsInGapsNeedNoReduce: they are complete although nobody has asked for them, and Discard
// waits for those that are not.
func TestSumsInGapsNeedNoReduce(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 2))
	dropped, kept := randomBatch(r, 6), randomBatch(r, 5)
	onRanks(t, 2, 1, func(ctx context.Context, k *rank) error {
		reducer := gradients.New(k.cfg)
		k.goBack(reducer, kept, 2, 0)
		if err := reducer.Reduce(ctx); err != nil {
			return err
		}
		want := slices.Clone(flat(reducer.Sums()))
		if err := k.inGaps(8); err != nil {
			return err
		}
		reducer = gradients.New(k.cfg)
		k.goBack(reducer, dropped, 2, 0)
		if err := reducer.Discard(ctx); err != nil {
			return err
		}
		k.goBack(reducer, kept, 2, 0)
		k.cfg.Gaps.Queue.Close()
		if err := same(want, flat(reducer.Sums())); err != nil {
			return err
		}
		return reducer.Step(ctx, expert.NewSGD(1))
	})
}

// TestErrorsOfSumsInGaps are those of the call that waits for them, and its context ends them.
func TestErrorsOfSumsInGaps(t *testing.T) {
	b := randomBatch(rand.New(rand.NewPCG(6, 2)), 4)
	for name, wait := range map[string]func(*gradients.Reducer, context.Context) error{
		"Reduce": (*gradients.Reducer).Reduce, "Discard": (*gradients.Reducer).Discard,
	} {
		onRanks(t, 2, 1, func(ctx context.Context, k *rank) error {
			if k.me == 1 {
				return nil // it never comes
			}
			if err := k.inGaps(8); err != nil {
				return err
			}
			reducer := gradients.New(k.cfg)
			k.goBack(reducer, b, 2, 0)
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			err := wait(reducer, ctx)
			require.ErrorIs(t, err, context.Canceled, name)
			require.ErrorContains(t, err, "gradients of the gate", name)
			return nil
		})
	}
}
