package alltoall_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// TestPassesRunAtTheSameTime: on each rank several goroutines run passes of random exchanges, in an
// order of its own, and some go on where the exchange itself is used.
func TestPassesRunAtTheSameTime(t *testing.T) {
	seed := rand.Uint64()
	for _, ranks := range []int{1, 2, 3, 4} {
		const passes = 8
		r := rand.New(rand.NewPCG(seed, uint64(ranks)))
		jobs := make([]job, passes)
		for i := range jobs {
			jobs[i] = job{place: alltoall.Even(2*ranks+1, ranks), counts: randomCounts(r, ranks, 2*ranks+1)}
		}
		for _, algorithm := range []alltoall.Algorithm{alltoall.Direct, alltoall.Bruck, alltoall.Dedup} {
			errs := ranktest.Errors(t, ranks, func(tr transport.Transport) error {
				x, err := alltoall.New(tr, alltoall.Config{Placement: jobs[0].place, Dim: dim, Algorithm: algorithm})
				if err != nil {
					return err
				}
				order := rand.New(rand.NewPCG(seed, uint64(tr.Rank()))).Perm(passes)
				return concurrently(passes+1, func(i int) error {
					if i == passes {
						return jobs[0].trips(x, int(tr.Rank()))
					}
					of := x.Pass(uint64(order[i]) + 1)
					defer of.End()
					return errors.Join(jobs[order[i]].trips(of, int(tr.Rank())), jobs[order[i]].trips(of, int(tr.Rank())))
				})
			})
			for rank, err := range errs {
				require.NoError(t, err, "seed %d, %d ranks, rank %d, %v", seed, ranks, rank, algorithm)
			}
		}
	}
}

func randomCounts(r *rand.Rand, ranks, experts int) (list []alltoall.Counts) {
	for range ranks {
		leaves := r.IntN(4)
		c := alltoall.Counts{Leaves: leaves, Tokens: leaves * 5, Rows: make([]int, experts*leaves)}
		for i := range c.Rows {
			c.Rows[i] = r.IntN(4) * r.IntN(2)
		}
		list = append(list, c)
	}
	return list
}

// concurrently runs do(0) to do(n-1), each on a goroutine.
func concurrently(n int, do func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// TestPassesOfFarNumbers do not meet: neither each other nor the exchange itself.
func TestPassesOfFarNumbers(t *testing.T) {
	errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
		r := rand.New(rand.NewPCG(1, 2))
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(3, 2), Dim: dim})
		if err != nil {
			return err
		}
		numbers := []uint64{0, 1, 2, 1 << 16, 1<<30 - 1}
		jobs := make([]job, len(numbers))
		for i := range jobs {
			jobs[i] = job{place: alltoall.Even(3, 2), counts: randomCounts(r, 2, 3)}
		}
		return concurrently(len(numbers), func(i int) error {
			at := i
			if tr.Rank() == 1 { // in the other order
				at = len(numbers) - 1 - i
			}
			p := x.Pass(numbers[at])
			defer p.End()
			return jobs[at].trips(p, int(tr.Rank()))
		})
	})
	for rank, err := range errs {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestAPassHasAnyNumberOfRounds, and its memory goes to the next pass.
func TestAPassHasAnyNumberOfRounds(t *testing.T) {
	for _, err := range ranktest.Errors(t, 1, func(tr transport.Transport) error {
		ctx := context.Background()
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(1, 1), Dim: dim})
		if err != nil {
			return err
		}
		p := x.Pass(5)
		rows := blas32.General{Rows: 1, Cols: dim, Stride: dim, Data: make([]float32, dim)}
		for range 1<<16/3 + 1 {
			h, in, err := whole(ctx, p, alltoall.Request{Counts: alltoall.Counts{Tokens: 1, Leaves: 1, Rows: []int{1}}, Rows: rows})
			if err == nil {
				_, err = h.Combine(ctx, 0, in)
			}
			if err != nil {
				return err
			}
			h.Release()
		}
		p.End()
		if again := x.Pass(6); again != p {
			return fmt.Errorf("the memory of a pass that has ended is not used again")
		}
		j := job{place: alltoall.Even(1, 1), counts: []alltoall.Counts{{Tokens: 2, Leaves: 1, Rows: []int{2}}}}
		return j.trips(p, 0)
	}) {
		require.NoError(t, err)
	}
}

// TestErrorsNameThePass, and the number of the round in it.
func TestErrorsNameThePass(t *testing.T) {
	errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: dim + int(tr.Rank())})
		if err != nil {
			return err
		}
		p := x.Pass(5)
		_, err = p.Begin(t.Context(), alltoall.Request{Counts: alltoall.Counts{Leaves: 1, Rows: []int{}}})
		require.ErrorContains(t, err, "begin of pass 5: 0 counts for 2 experts")
		_, _, err = whole(t.Context(), p, alltoall.Request{Counts: alltoall.Counts{Rows: []int{}}})
		return err
	})
	require.ErrorContains(t, errs[0], "rank 1: counts of pass 5 #1: ranks disagree about the job")
}
