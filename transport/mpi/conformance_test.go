//go:build mpi && cgo

package mpi

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

// mostRanks is the size of the suite's largest job.
const mostRanks = 8

func TestConformance(t *testing.T) {
	w := startWorld(t, mostRanks)
	transporttest.Run(t, func(t *testing.T, n int) []transport.Transport { return w.open(t, n) })
}

func TestViews(t *testing.T) {
	w := startWorld(t, 4)
	transporttest.RunViews(t, func(t *testing.T, n int) []transport.Transport { return w.open(t, n) })
}

// steadyOf exchanges messages of all ranks repeatedly, and returns the result of rank 0.
func steadyOf(t testing.TB, ends []transport.Transport, bytes, n int) rpcResponse {
	answers, errs := make([]rpcResponse, len(ends)), make([]error, len(ends))
	var wg sync.WaitGroup
	for i, e := range ends {
		wg.Go(func() {
			answers[i], errs[i] = e.(*remoteEnd).ask(context.Background(), rpcRequest{Op: "steady", Bytes: bytes, N: n})
		})
	}
	wg.Wait()
	for i, err := range errs {
		require.NoError(t, err, "rank %d", i)
	}
	return answers[0]
}

func closeAll(ends []transport.Transport) {
	var wg sync.WaitGroup
	for _, e := range ends {
		wg.Go(func() { _ = e.Close() })
	}
	wg.Wait()
}

func TestSteadyTrafficDoesNotAllocate(t *testing.T) {
	w := startWorld(t, 2)
	ends := w.open(t, 2)
	defer closeAll(ends)
	for _, bytes := range []int{0, 64, maxEager, maxEager + 1, 1 << 20} {
		require.Less(t, steadyOf(t, ends, bytes, 500).Allocs, 0.2, "%d bytes", bytes)
	}
}

func BenchmarkExchange(b *testing.B) {
	for _, n := range []int{2, 4} {
		w := startWorld(b, n)
		ends := w.open(b, n)
		for _, bytes := range []int{64, 4 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("ranks=%d/bytes=%d", n, bytes), func(b *testing.B) {
				b.SetBytes(int64(bytes * n * (n - 1)))
				a := steadyOf(b, ends, bytes, b.N)
				b.ReportMetric(a.Allocs, "allocs/exchange")
			})
		}
		closeAll(ends)
	}
}
