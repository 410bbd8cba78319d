package tcp

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// freeAddr returns a loopback address that nobody listens on.
func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// openAll joins n ranks in this process; each may change its configuration.
func openAll(t testing.TB, n int, change func(c *Config)) []*Transport {
	addr := freeAddr(t)
	ends, errs := make([]*Transport, n), make([]error, n)
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() {
			cfg := Config{Rank: transport.Rank(r), Size: n, Addr: addr, Job: t.Name()}
			if change != nil {
				change(&cfg)
			}
			ends[r], errs[r] = Join(context.Background(), cfg)
		})
	}
	wg.Wait()
	for r := range n {
		require.NoError(t, errs[r], "rank %d", r)
		t.Cleanup(func() { _ = ends[r].Close() })
	}
	return ends
}

// closeAll closes all ends at once, as a job that has ended does.
func closeAll(ends []*Transport) {
	var wg sync.WaitGroup
	for _, e := range ends {
		wg.Go(func() { _ = e.Close() })
	}
	wg.Wait()
}
