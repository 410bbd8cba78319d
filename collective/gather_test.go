package collective_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func pattern(r transport.Rank, n int) []byte { return bytes.Repeat([]byte{byte(r + 1)}, n) }

func equal(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes %.10x…, want %d bytes %.10x…", len(got), got, len(want), want)
	}
	return nil
}

func TestBarrierWaitsForAll(t *testing.T) {
	onRanks(t, func(t *testing.T, n int) {
		var arrived atomic.Int64
		allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
			for round := range 50 {
				arrived.Add(1)
				if err := c.Barrier(ctx); err != nil {
					return err
				}
				if got := arrived.Load(); got < int64((round+1)*n) {
					return fmt.Errorf("round %d: passed when %d ranks of %d had arrived", round, got, (round+1)*n)
				}
			}
			return nil
		})
	})
}

func TestBroadcast(t *testing.T) {
	onRanks(t, func(t *testing.T, n int) {
		allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
			for _, size := range []int{0, 1, 1000, 300_000} {
				for root := range transport.Rank(n) {
					buf := make([]byte, size)
					if c.Rank() == root {
						copy(buf, pattern(root, size))
					}
					if err := c.Broadcast(ctx, root, buf); err != nil {
						return err
					}
					if err := equal(buf, pattern(root, size)); err != nil {
						return fmt.Errorf("root %d: %w", root, err)
					}
				}
			}
			return nil
		})
	})
}

func TestAllGather(t *testing.T) {
	onRanks(t, func(t *testing.T, n int) {
		allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
			for _, size := range []int{0, 1, 1000, 100_000} {
				dst := make([]byte, n*size)
				src := dst[int(c.Rank())*size:][:size]
				copy(src, pattern(c.Rank(), size))
				if err := c.AllGather(ctx, dst, src); err != nil {
					return err
				}
				for r := range n {
					if err := equal(dst[r*size:(r+1)*size], pattern(transport.Rank(r), size)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

func TestAllGatherVAndAny(t *testing.T) {
	size := func(r transport.Rank) int { return []int{5, 0, 70_000, 1, 300}[int(r)%5] }
	onRanks(t, func(t *testing.T, n int) {
		allSucceed(t, n, func(ctx context.Context, c *collective.Comm) error {
			parts := make([][]byte, n)
			for r := range parts {
				parts[r] = make([]byte, size(transport.Rank(r)))
			}
			copy(parts[c.Rank()], pattern(c.Rank(), size(c.Rank())))
			if err := c.AllGatherV(ctx, parts); err != nil {
				return err
			}
			again, err := c.AllGatherAny(ctx, pattern(c.Rank(), size(c.Rank())), 1<<20)
			if err != nil {
				return err
			}
			for r := range transport.Rank(n) {
				want := pattern(r, size(r))
				if err := equal(parts[r], want); err != nil {
					return err
				}
				if err := equal(again[r], want); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func TestAllGatherAnyRefusesTooMuch(t *testing.T) {
	for r, err := range each(t, 3, func(ctx context.Context, c *collective.Comm) error {
		_, err := c.AllGatherAny(ctx, make([]byte, 100*int(c.Rank())), 150)
		return err
	}) {
		require.ErrorIs(t, err, transport.ErrTooLarge, "rank %d", r)
		require.Equal(t, transport.Rank(2), transport.CulpritOf(err))
	}
}

func TestDifferentLengthsAreAnError(t *testing.T) {
	for r, err := range each(t, 2, func(ctx context.Context, c *collective.Comm) error {
		size := 10 + int(c.Rank())
		return c.AllGather(ctx, make([]byte, 2*size), make([]byte, size))
	}) {
		require.Error(t, err, "rank %d", r)
	}
}

// TestRanksMayBeCallsApart: a broadcast's root is many calls ahead of the last rank.
func TestRanksMayBeCallsApart(t *testing.T) {
	allSucceed(t, 4, func(ctx context.Context, c *collective.Comm) error {
		for i := range 200 {
			buf := []byte{0}
			if c.Rank() == 0 {
				buf[0] = byte(i)
			}
			if err := c.Broadcast(ctx, 0, buf); err != nil {
				return err
			}
			if buf[0] != byte(i) {
				return fmt.Errorf("call %d got the answer of call %d", i, buf[0])
			}
		}
		return nil
	})
}

// TestMisuseIsAnError that names the rank, the operation and the value; the next call works.
func TestMisuseIsAnError(t *testing.T) {
	rank := inproc.New(1)[0]
	c, ctx := collective.New(rank), context.Background()
	for says, err := range map[string]error{
		"rank 0: broadcast: root 1 outside 0..0":              c.Broadcast(ctx, 1, nil),
		"rank 0: broadcast: root -1 outside 0..0":             c.Broadcast(ctx, -1, nil),
		"rank 0: all-gather: dst has 3 bytes, want 1 times 2": c.AllGather(ctx, make([]byte, 3), make([]byte, 2)),
		"rank 0: all-gather: 0 buffers for 1 ranks":           c.AllGatherV(ctx, nil),
		"rank 0: all-reduce: no reduction Reduction(7)":       c.AllReduceInt64(ctx, nil, 7),
		"rank 0: all-reduce: no reduction Reduction(-1)":      c.AllReduceFloat64(ctx, nil, -1),
	} {
		require.ErrorContains(t, err, says)
		require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
	}
	require.NoError(t, c.Barrier(ctx))
}
