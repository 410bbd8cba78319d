package transporttest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/switchyard-moe/switchyard/transport"
)

// Bench measures the transports that open returns, as sub-benchmarks: "pingpong" is one message
// there and back between two ranks; "stream" sends one way; in "alltoall" every rank exchanges a
// message with every rank, itself included. Bytes is the length of one message; the throughput
// counts the bytes between ranks, in both directions together, and for alltoall the bytes that all
// ranks together send to others.
func Bench(b *testing.B, open func(b *testing.B, n int) []transport.Transport) {
	for _, n := range []int{0, 64, 4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("pingpong/bytes=%d", n), func(b *testing.B) { benchPingPong(b, open(b, 2), n) })
	}
	for _, n := range []int{64, 4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("stream/bytes=%d", n), func(b *testing.B) { benchStream(b, open(b, 2), n) })
	}
	for _, ranks := range []int{2, 4, 8} {
		for _, n := range []int{64, 4 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("alltoall/ranks=%d/bytes=%d", ranks, n), func(b *testing.B) {
				benchAllToAll(b, open(b, ranks), n)
			})
		}
	}
}

func benchPingPong(b *testing.B, ranks []transport.Transport, size int) {
	b.SetBytes(int64(2 * size))
	benchEach(b, ranks, func(ctx context.Context, t transport.Transport) error {
		bufs := [][]byte{make([]byte, size)}
		peer := 1 - t.Rank()
		for range b.N {
			if t.Rank() == 0 {
				if err := t.Send(ctx, peer, 1, bufs...); err != nil {
					return err
				}
			}
			if _, err := t.Recv(ctx, peer, 1, bufs...); err != nil {
				return err
			}
			if t.Rank() == 1 {
				if err := t.Send(ctx, peer, 1, bufs...); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func benchStream(b *testing.B, ranks []transport.Transport, size int) {
	b.SetBytes(int64(size))
	benchEach(b, ranks, func(ctx context.Context, t transport.Transport) error {
		bufs := [][]byte{make([]byte, size)}
		for range b.N {
			err := error(nil)
			if t.Rank() == 0 {
				err = t.Send(ctx, 1, 1, bufs...)
			} else {
				_, err = t.Recv(ctx, 0, 1, bufs...)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func benchAllToAll(b *testing.B, ranks []transport.Transport, size int) {
	n := len(ranks)
	b.SetBytes(int64(n * (n - 1) * size))
	benchEach(b, ranks, func(ctx context.Context, t transport.Transport) error {
		sends, recvs := make([]transport.Message, n), make([]transport.Message, n)
		for peer := range n {
			sends[peer], recvs[peer] = message(peer, 1, make([]byte, size)), message(peer, 1, make([]byte, size))
		}
		for range b.N {
			if err := transport.Exchange(ctx, t, sends, recvs); err != nil {
				return err
			}
		}
		return nil
	})
}

// benchEach measures do, run for every rank at once, and closes the ranks.
func benchEach(b *testing.B, ranks []transport.Transport, do func(context.Context, transport.Transport) error) {
	b.ReportAllocs()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	b.ResetTimer()
	for _, t := range ranks {
		wg.Go(func() {
			if err := do(ctx, t); err != nil {
				b.Errorf("rank %d: %v", t.Rank(), err)
				cancel()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	for _, t := range ranks {
		wg.Go(func() { _ = t.Close() })
	}
	wg.Wait()
}
