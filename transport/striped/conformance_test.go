package striped

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

// wrapper makes link number link of rank r out of an inproc link.
type wrapper func(link int, r transport.Rank, t transport.Transport) transport.Transport

// open opens a job of n ranks over links inproc links.
func open(t testing.TB, n, links int, cfg Config, wrap wrapper) []*Transport {
	t.Helper()
	ends, err := join(openLinks(t, n, links, wrap), func(transport.Rank) Config { return cfg })
	require.NoError(t, err)
	t.Cleanup(func() { closeEnds(ends) })
	return ends
}

// openLinks returns each rank's links.
func openLinks(t testing.TB, n, links int, wrap wrapper) [][]transport.Transport {
	t.Helper()
	all := make([][]transport.Transport, n)
	for link := range links {
		ends, err := inproc.Open(inproc.Config{Ranks: n, OpTimeout: -1})
		require.NoError(t, err)
		for r, e := range ends {
			var l transport.Transport = e
			if wrap != nil {
				l = wrap(link, transport.Rank(r), l)
			}
			all[r] = append(all[r], l)
		}
	}
	return all
}

// join calls New for every rank at once.
func join(links [][]transport.Transport, cfg func(transport.Rank) Config) ([]*Transport, error) {
	ends, errs := make([]*Transport, len(links)), make([]error, len(links))
	var wg sync.WaitGroup
	for r := range links {
		wg.Go(func() { ends[r], errs[r] = New(context.Background(), links[r], cfg(transport.Rank(r))) })
	}
	wg.Wait()
	return ends, errors.Join(errs...)
}

func closeEnds(ends []*Transport) {
	var wg sync.WaitGroup
	for _, e := range ends {
		if e != nil {
			wg.Go(func() { _ = e.Close() })
		}
	}
	wg.Wait()
}

func asTransports(ends []*Transport) []transport.Transport {
	all := make([]transport.Transport, len(ends))
	for i, e := range ends {
		all[i] = e
	}
	return all
}

// codes are the numbers of data and parity links that tests go through.
var codes = []struct{ k, m int }{{1, 0}, {2, 0}, {4, 1}, {2, 2}}

func TestConformance(t *testing.T) {
	for _, c := range codes {
		t.Run(fmt.Sprintf("%d+%d", c.k, c.m), func(t *testing.T) {
			if testing.Short() && c.m != 1 {
				t.Skip("4+1 alone, as the tests are to be short")
			}
			open := func(t *testing.T, n int) []transport.Transport {
				return asTransports(open(t, n, c.k+c.m, Config{Parity: c.m}, nil))
			}
			transporttest.Run(t, open)
			t.Run("Watched", func(t *testing.T) { transporttest.RunWatched(t, open) })
		})
	}
}

func TestViews(t *testing.T) {
	transporttest.RunViews(t, func(t *testing.T, n int) []transport.Transport {
		return asTransports(open(t, n, 3, Config{Parity: 1}, nil))
	})
}

func BenchmarkTransport(b *testing.B) {
	for _, c := range codes {
		b.Run(fmt.Sprintf("%d+%d", c.k, c.m), func(b *testing.B) {
			transporttest.Bench(b, func(b *testing.B, n int) []transport.Transport {
				return asTransports(open(b, n, c.k+c.m, Config{Parity: c.m}, nil))
			})
		})
	}
}
