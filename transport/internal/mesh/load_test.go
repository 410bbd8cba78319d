package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// pattern is what rank from sends to rank to: n bytes that no other pair sends.
func pattern(from, to, n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], uint64(from)<<40|uint64(to)<<32|uint64(i))
	}
	return b
}

// allToAll exchanges length(from, to) bytes between every pair of ranks and checks every byte.
func allToAll(t *testing.T, ends []*Mesh, rounds int, length func(from, to int) int) {
	n := len(ends)
	var wg sync.WaitGroup
	for r, e := range ends {
		wg.Go(func() {
			for round := range rounds {
				sends, recvs := make([]transport.Message, n), make([]transport.Message, n)
				for p := range n {
					tag := transport.Tag(round)
					out := pattern(r, p, length(r, p))
					sends[p] = transport.Message{Peer: transport.Rank(p), Tag: tag, Bufs: [][]byte{out[:len(out)/3], out[len(out)/3:]}}
					recvs[p] = transport.Message{Peer: transport.Rank(p), Tag: tag, Bufs: [][]byte{make([]byte, length(p, r)), nil}}
				}
				if err := e.Exchange(context.Background(), sends, recvs); err != nil {
					t.Errorf("rank %d: %v", r, err)
					return
				}
				for p := range n {
					want := pattern(p, r, length(p, r))
					if recvs[p].N != len(want) || !bytes.Equal(recvs[p].Bufs[0], want) {
						t.Errorf("rank %d: wrong bytes from %d", r, p)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestLargeMessagesAmongEight(t *testing.T) {
	size := 16 << 20
	if testing.Short() {
		size = 1 << 20
	}
	ends := openAll(t, 8, nil)
	allToAll(t, ends, 1, func(int, int) int { return size })
	require.Equal(t, uint64(7*size), ends[0].WireBytes())
}

func TestUnevenAndEmptyMessages(t *testing.T) {
	allToAll(t, openAll(t, 5, nil), 20, func(from, to int) int { return (from * to * 70001) % 300_000 })
	allToAll(t, openAll(t, 3, nil), 20, func(int, int) int { return 0 })
}

func TestManyTagsOutOfOrder(t *testing.T) {
	const tags = 2000
	ends := openAll(t, 2, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		for tag := range tags {
			require.NoError(t, ends[0].Send(t.Context(), 1, transport.Tag(tag), pattern(0, tag, tag)))
		}
	})
	for tag := tags - 1; tag >= 0; tag-- {
		b := make([]byte, tag)
		n, err := ends[1].Recv(t.Context(), 0, transport.Tag(tag), b)
		require.NoError(t, err)
		require.Equal(t, tag, n)
		require.Equal(t, pattern(0, tag, tag), b)
	}
	wg.Wait()
}

func TestManyWaitersOnOnePeer(t *testing.T) {
	const waiters = 100
	ends := openAll(t, 2, nil)
	var wg sync.WaitGroup
	for tag := range waiters {
		wg.Go(func() {
			b := make([]byte, 8)
			for range 20 {
				_, err := ends[1].Recv(t.Context(), 0, transport.Tag(tag), b)
				require.NoError(t, err)
				require.Equal(t, uint64(tag), binary.LittleEndian.Uint64(b))
			}
		})
	}
	for range 20 {
		for tag := range waiters {
			b := binary.LittleEndian.AppendUint64(nil, uint64(tag))
			wg.Go(func() { require.NoError(t, ends[0].Send(t.Context(), 1, transport.Tag(tag), b)) })
		}
	}
	wg.Wait()
}

func TestUnexpectedMessagesAreBounded(t *testing.T) {
	const limit, size, count = 1 << 20, 100 << 10, 200
	ends := openAll(t, 2, func(c *Config) { c.MaxUnexpectedBytes = limit })
	p := ends[1].peers[0]
	held := func() int { p.mu.Lock(); defer p.mu.Unlock(); return p.pairs.Held() }
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range count {
			require.NoError(t, ends[0].Send(t.Context(), 1, 1, pattern(0, i, size)))
		}
		require.NoError(t, ends[0].Send(t.Context(), 1, 2, []byte("last")))
	})
	// A receiver of something else reads up to the bound and no further.
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		_, err := ends[1].Recv(ctx, 0, 3, make([]byte, 1))
		require.ErrorIs(t, err, context.Canceled)
	})
	require.Eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.stalled }, 10*time.Second, time.Millisecond)
	require.LessOrEqual(t, held(), limit)
	require.Greater(t, held(), limit-2*size)
	b := make([]byte, size)
	for i := range count {
		_, err := ends[1].Recv(t.Context(), 0, 1, b)
		require.NoError(t, err)
		require.Equal(t, pattern(0, i, size), b)
		require.LessOrEqual(t, held(), limit)
	}
	cancel()
	_, err := ends[1].Recv(t.Context(), 0, 2, b)
	require.NoError(t, err)
	wg.Wait()
	require.Zero(t, held())
}

func TestMessageBeyondTheBoundWaitsForItsReceiver(t *testing.T) {
	ends := openAll(t, 2, func(c *Config) { c.MaxUnexpectedBytes = 1 << 20 })
	want := pattern(0, 1, 5<<20)
	var wg sync.WaitGroup
	wg.Go(func() { require.NoError(t, ends[0].Send(t.Context(), 1, 1, want)) })
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() { _, _ = ends[1].Recv(ctx, 0, 2, nil) }) // draws the first MiB in
	p := ends[1].peers[0]
	require.Eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.stalled }, 10*time.Second, time.Millisecond)
	got := make([]byte, len(want))
	_, err := ends[1].Recv(t.Context(), 0, 1, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	cancel()
	wg.Wait()
}

func TestExchangeDoesNotAllocate(t *testing.T) {
	ends := openAll(t, 2, nil)
	step := func(e *Mesh) func() {
		peer := 1 - e.Rank()
		sends := []transport.Message{{Peer: peer, Tag: 1, Bufs: [][]byte{make([]byte, 64)}}}
		recvs := []transport.Message{{Peer: peer, Tag: 1, Bufs: [][]byte{make([]byte, 64)}}}
		return func() { require.NoError(t, e.Exchange(context.Background(), sends, recvs)) }
	}
	const rounds = 2000
	var wg sync.WaitGroup
	other := step(ends[1])
	wg.Go(func() {
		for range rounds + 1 {
			other()
		}
	})
	mine := step(ends[0])
	allocs := testing.AllocsPerRun(rounds, mine)
	wg.Wait()
	require.LessOrEqual(t, allocs, 1.0, "both ranks together")
}

func BenchmarkAllToAll(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"size=64B", 64}, {"size=64KiB", 64 << 10}, {"size=1MiB", 1 << 20}} {
		b.Run(size.name, func(b *testing.B) {
			ends := openAll(b, 4, nil)
			b.SetBytes(int64(3 * size.bytes))
			var wg sync.WaitGroup
			for r, e := range ends {
				var sends, recvs []transport.Message
				for d := 1; d < 4; d++ {
					sends = append(sends, transport.Message{Peer: transport.Rank((r + d) % 4), Bufs: [][]byte{make([]byte, size.bytes)}})
					recvs = append(recvs, transport.Message{Peer: transport.Rank((r + 4 - d) % 4), Bufs: [][]byte{make([]byte, size.bytes)}})
				}
				wg.Go(func() {
					for range b.N {
						if err := e.Exchange(context.Background(), sends, recvs); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
