package inproc_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func open(n int) []transport.Transport {
	ranks := make([]transport.Transport, n)
	for r, t := range inproc.New(n) {
		ranks[r] = t
	}
	return ranks
}

func TestConformance(t *testing.T) {
	open := func(_ *testing.T, n int) []transport.Transport { return open(n) }
	transporttest.Run(t, open)
	t.Run("Watched", func(t *testing.T) { transporttest.RunWatched(t, open) })
}

func BenchmarkTransport(b *testing.B) {
	transporttest.Bench(b, func(_ *testing.B, n int) []transport.Transport { return open(n) })
}

// BenchmarkCopy is what alltoall does, without a transport: the same buffers, copied by one
// goroutine a rank.
func BenchmarkCopy(b *testing.B) {
	for _, ranks := range []int{2, 4, 8} {
		for _, size := range []int{64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("ranks=%d/bytes=%d", ranks, size), func(b *testing.B) { benchCopy(b, ranks, size) })
		}
	}
}

func benchCopy(b *testing.B, ranks, size int) {
	b.SetBytes(int64(ranks * (ranks - 1) * size))
	from, to := make([][]byte, ranks*ranks), make([][]byte, ranks*ranks)
	for i := range from {
		from[i], to[i] = make([]byte, size), make([]byte, size)
	}
	for b.Loop() {
		var wg sync.WaitGroup
		for r := range ranks {
			wg.Go(func() {
				for peer := range ranks {
					copy(to[peer*ranks+r], from[r*ranks+peer])
				}
			})
		}
		wg.Wait()
	}
}
