package alltoall_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/alloctest"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// TestExchangesAllocateNothing runs passes forward and backward, one after another, on ranks that
// have had as many rows before.
func TestExchangesAllocateNothing(t *testing.T) {
	perLink := alltoall.Everywhere(alltoall.NVFP4H)
	perLink.Within = &alltoall.Wire{Dispatch: alltoall.FP8}
	for _, w := range []alltoall.Wire{{}, alltoall.Everywhere(alltoall.FP8), perLink} {
		t.Run(w.String(), func(t *testing.T) { requireNoAllocation(t, alltoall.Config{Wire: w}, nil) })
	}
	t.Run("all counts", func(t *testing.T) { requireNoAllocation(t, alltoall.Config{Allocates: true}, nil) })
	t.Run("shared out", func(t *testing.T) {
		requireNoAllocation(t, alltoall.Config{Allocates: true, Wire: perLink}, alltoall.Allocation{
			{Expert: 1, Rank: 2, End: 3}, {Expert: 1, Rank: 0, First: 3, End: 6}, {Expert: 4, Rank: 1, End: 6},
		})
	})
}

func requireNoAllocation(t *testing.T, cfg alltoall.Config, a alltoall.Allocation) {
	const ranks, experts, tokens, wide = 3, 5, 40, 16
	place := alltoall.Even(experts, ranks)
	counts := alltoall.Counts{Tokens: tokens, Leaves: 2, Rows: make([]int, 2*experts)}
	var token []int32
	r := rand.New(rand.NewPCG(1, 2))
	for i := range counts.Rows {
		counts.Rows[i] = 4 + i%3
		for range counts.Rows[i] {
			token = append(token, int32(r.IntN(tokens)))
		}
	}
	x := blas32.General{Rows: tokens, Cols: wide, Stride: wide, Data: make([]float32, tokens*wide)}
	var allocate func(*alltoall.Loads) (alltoall.Allocation, error)
	if cfg.Allocates {
		allocate = func(*alltoall.Loads) (alltoall.Allocation, error) { return a, nil }
	}
	pass := func(all *alltoall.Exchange, number uint64) error {
		ctx, e := context.Background(), all.Pass(number)
		defer e.End()
		h, in, err := whole(ctx, e, alltoall.Request{Counts: counts, Rows: x, Token: token, Allocate: allocate})
		if err != nil {
			return err
		}
		home, err := h.Combine(ctx, 0, in)
		if err != nil {
			return err
		}
		if in, err = h.DispatchBack(ctx, 0, home); err != nil {
			return err
		}
		_, err = h.Combine(ctx, 0, in)
		h.Release()
		return err
	}

	ends := inproc.New(ranks)
	starts, done := make([]chan struct{}, ranks), make(chan error, ranks)
	for i, tr := range ends {
		cfg.Placement, cfg.Dim, cfg.Topology = place, wide, alltoall.Nodes(ranks, 2)
		e, err := alltoall.New(transport.Transport(tr), cfg)
		require.NoError(t, err)
		starts[i] = make(chan struct{})
		go func() {
			number := uint64(0)
			for range starts[i] {
				number++
				done <- pass(e, number)
			}
			done <- tr.Close()
		}()
	}
	all := func() {
		for _, s := range starts {
			s <- struct{}{}
		}
		for range starts {
			require.NoError(t, <-done)
		}
	}
	for range 10 {
		all()
	}
	// Many tries: the race detector empties pools one time in four, and a pass asks them 15 times.
	allocs := alloctest.Least(2000, all)
	for _, s := range starts {
		close(s)
	}
	for range starts {
		require.NoError(t, <-done)
	}
	require.Zero(t, allocs)
}
