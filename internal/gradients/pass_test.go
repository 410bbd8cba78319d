package gradients_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/param"
)

// inAnyOrder is passes of one step, numbered from 1, of which some end without gradients.
type inAnyOrder struct {
	batches []batch
	ends    []bool
}

// run runs the passes of a rank on as many goroutines, each of which goes through those whose turn
// comes next in an order of the rank's own.
func (of inAnyOrder) run(ctx context.Context, k *rank, reducer *gradients.Reducer, ranks, goroutines int, order []int) error {
	passes := make([]gradients.Pass, len(of.batches))
	for i := range passes {
		k.last++
		passes[i] = reducer.Begin(k.last, gradients.Comms{
			World: k.cfg.World.Pass(k.last), Replicas: k.cfg.Replicas.Pass(k.last),
		})
	}
	one := func(i int) error {
		b := k.enter(&passes[i], of.batches[i], ranks, 0)
		if of.ends[i] {
			passes[i].End()
			return nil
		}
		return passes[i].Reduce(ctx, b)
	}
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for n := g; n < len(order) && errs[g] == nil; n += goroutines {
				errs[g] = one(order[n])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// TestPassesInAnyOrder: whatever the order of their ends, and whatever runs beside them on each
// rank, the sums have the bits of ascending numbers.
func TestPassesInAnyOrder(t *testing.T) {
	seed := rand.Uint64()
	for trial := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, trial))
		var of, kept inAnyOrder
		for range 7 {
			b, ends := randomBatch(r, 4+r.IntN(6)), r.IntN(3) == 0
			of.batches, of.ends = append(of.batches, b), append(of.ends, ends)
			if !ends {
				kept.batches, kept.ends = append(kept.batches, b), append(kept.ends, false)
			}
		}
		order := r.Perm(len(of.batches))
		for _, shape := range [][2]int{{1, 1}, {2, 2}, {4, 2}} {
			onRanks(t, shape[0], shape[1], func(ctx context.Context, k *rank) error {
				k.cfg.Turn = &lifecycle.Turn{Lock: new(sync.Mutex)}
				reducer := gradients.New(k.cfg)
				for range 2 { // the second step in memory of the first
					for _, b := range kept.batches {
						k.goBack(reducer, b, shape[0], 0)
						if err := reducer.Reduce(ctx); err != nil {
							return err
						}
					}
					want := flat(reducer.Sums())
					want = append([]float32(nil), want...)
					require.NoError(t, reducer.Discard(ctx))
					mine, goroutines := order, 1 // one goroutine goes through the same order on every rank
					if trial%2 == 1 {
						mine, goroutines = rand.New(rand.NewPCG(seed, uint64(k.me))).Perm(len(order)), len(order)
					}
					if err := of.run(ctx, k, reducer, shape[0], goroutines, mine); err != nil {
						return err
					}
					if err := reducer.ReduceAll(ctx); err != nil {
						return err
					}
					if got := flat(reducer.Sums()); len(kept.batches) > 0 && !slices.Equal(want, got) {
						t.Errorf("seed %d, trial %d, %v: %v, want %v", seed, trial, shape, got, want)
					}
					require.NoError(t, reducer.Discard(ctx))
				}
				return nil
			})
		}
	}
}

// TestAPassUnderWay keeps the step from being taken, and the passes after it from being added.
func TestAPassUnderWay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	b := randomBatch(r, 4)
	onRanks(t, 2, 1, func(ctx context.Context, k *rank) error {
		reducer := gradients.New(k.cfg)
		first, second := reducer.Begin(7, gradients.Comms{}), reducer.Begin(8, gradients.Comms{})
		if err := second.Reduce(ctx, k.enter(&second, b, 2, 0)); err != nil {
			return err
		}
		require.Nil(t, reducer.Sums().Gate)
		require.EqualError(t, reducer.ReduceAll(ctx), "switchyard: pass 7 is under way")
		first.End()
		require.NoError(t, reducer.ReduceAll(ctx))
		for i, want := range reference([]batch{b}, 0) {
			require.InDelta(t, want, float64(flat(reducer.Sums())[i]), 1e-5)
		}
		return nil
	})
}

// TestLeavesAreThoseOfThePass: outside Do the sets hold no leaves, and the next pass may enter the
// same ones.
func TestLeavesAreThoseOfThePass(t *testing.T) {
	k := newRank(0, 2)
	reducer := gradients.New(k.cfg)
	first, second := reducer.Begin(1, gradients.Comms{}), reducer.Begin(2, gradients.Comms{})
	sets := append([]*param.Set{k.gate.params, k.gate.losses, k.cfg.Sets.Shared, k.cfg.Sets.Gains}, k.cfg.Sets.Experts...)
	for _, set := range sets {
		first.Do(func() { set.Grad.Leaf(0)[0] = 1 })
		require.Empty(t, set.Grad.Nodes())
		second.Do(func() { set.Grad.Leaf(0)[0] = 2 })
		first.Do(func() { require.EqualValues(t, 1, set.Grad.Total()[0]) })
	}
	require.Panics(t, func() { first.Do(func() { panic("an expert failed") }) })
	require.Empty(t, sets[0].Grad.Nodes())
}
