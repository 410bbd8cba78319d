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

func TestLanesDoNotMix(t *testing.T) {
	const n, lanes = 3, 4
	ranks := inproc.New(n)
	done := make(chan error, n*lanes)
	for _, rank := range ranks {
		for lane := range lanes {
			c := collective.NewLane(rank, lane)
			go func() {
				for i := range 100 {
					x := []int64{int64(i * lane)}
					err := c.AllReduceInt64(context.Background(), x, collective.Sum)
					if err == nil && x[0] != int64(n*i*lane) {
						err = fmt.Errorf("lane %d: %d, want %d", lane, x[0], n*i*lane)
					}
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
	}
	for range n * lanes {
		require.NoError(t, <-done)
	}
}

func TestMistakesPanic(t *testing.T) {
	rank := inproc.New(1)[0]
	c, ctx := collective.New(rank), context.Background()
	require.Panics(t, func() { collective.NewLane(rank, collective.Lanes) })
	require.Panics(t, func() { collective.NewLane(rank, -1) })
	require.Panics(t, func() { _ = c.Broadcast(ctx, 1, nil) })
	require.Panics(t, func() { _ = c.AllGather(ctx, make([]byte, 3), make([]byte, 2)) })
	require.Panics(t, func() { _ = c.AllGatherV(ctx, nil) })
	require.Panics(t, func() { _ = c.AllReduceInt64(ctx, nil, 7) })
}
