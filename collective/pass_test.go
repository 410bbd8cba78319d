package collective_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/collective"
)

// TestPassesRunAtTheSameTime: on each rank several goroutines run passes in an order of its own,
// beside calls of the whole.
func TestPassesRunAtTheSameTime(t *testing.T) {
	seed := seeded(t).Uint64()
	const passes = 6
	onRanks(t, func(t *testing.T, n int) {
		allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
			order := rand.New(rand.NewPCG(seed, uint64(c.Rank()))).Perm(passes + 1)
			errs := make([]error, len(order))
			var wg sync.WaitGroup
			for i, of := range order {
				wg.Go(func() {
					on := c
					if of > 0 {
						on = c.Pass(uint64(of))
						defer on.End()
					}
					errs[i] = sumsOf(ctx, on, int64(1000*of))
				})
			}
			wg.Wait()
			return errors.Join(errs...)
		})
	})
}

// sumsOf makes calls of several kinds, whose results tell of which pass they are.
func sumsOf(ctx context.Context, c *collective.Comm, of int64) error {
	for i := range int64(3) {
		x, want := []int64{of + i, int64(c.Rank())}, []int64{(of + i) * int64(c.Size()), int64(c.Size()-1) * int64(c.Size()) / 2}
		if err := c.AllReduceInt64(ctx, x, collective.Sum); err != nil {
			return err
		}
		y := []float32{float32(of + i), 1, 2}
		if err := c.AllReduce(ctx, y); err != nil {
			return err
		}
		if x[0] != want[0] || x[1] != want[1] || y[0] != float32(want[0]) {
			return errors.New("the numbers of another pass")
		}
		if err := c.Barrier(ctx); err != nil {
			return err
		}
	}
	return nil
}

// TestPassesOfFarNumbers do not meet.
func TestPassesOfFarNumbers(t *testing.T) {
	numbers := []uint64{0, 1, 1 << 16, 1<<22 - 1}
	allSucceed(t, 2, func(ctx context.Context, c *collective.Comm) error {
		var wg sync.WaitGroup
		errs := make([]error, len(numbers))
		for i := range numbers {
			at := i
			if c.Rank() == 1 { // in the other order
				at = len(numbers) - 1 - i
			}
			wg.Go(func() { errs[i] = sumsOf(ctx, c.Pass(numbers[at]), int64(at)) })
		}
		wg.Wait()
		return errors.Join(errs...)
	})
}

// TestAPassMakesAnyNumberOfCalls, beside another, and its memory goes to the next pass.
func TestAPassMakesAnyNumberOfCalls(t *testing.T) {
	allSucceed(t, 2, func(ctx context.Context, c *collective.Comm) error {
		p := c.Pass(7)
		beside := c.Pass(8)
		for range 1<<16 + 1 {
			if err := p.Barrier(ctx); err != nil {
				return err
			}
		}
		if err := errors.Join(sumsOf(ctx, beside, 8), sumsOf(ctx, p, 7)); err != nil {
			return err
		}
		p.End()
		require.Same(t, p, c.Pass(9))
		return p.Barrier(ctx)
	})
}
