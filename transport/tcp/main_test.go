package tcp

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// openAll joins n ranks in this process; each may change its configuration.
func openAll(t testing.TB, n int, change func(c *Config)) []*Transport {
	addr := loopback.Addr()
	ends, errs := make([]*Transport, n), make([]error, n)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() {
			cfg := Config{Identity: rendezvous.Identity{Rank: transport.Rank(r), Size: n, Addr: addr, Job: t.Name()}}
			if change != nil {
				change(&cfg)
			}
			if ends[r], errs[r] = Join(ctx, cfg); errs[r] != nil {
				cancel() // the others would wait for it in vain
			}
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
