package striped

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	linkRate = 25_000_000 // bytes a second: 200 Mbit/s
	lagBytes = 1 << 20
	lagCount = 100
)

// rounds sends messages there and back, and returns how long each round took. Before round at it
// calls fault.
func rounds(t *testing.T, ends []*Transport, at int, fault func()) []time.Duration {
	ctx := context.Background()
	var wg sync.WaitGroup
	wg.Go(func() {
		room := make([]byte, lagBytes)
		for range lagCount {
			if _, err := ends[1].Recv(ctx, 0, 1, room); err != nil {
				return
			}
			if ends[1].Send(ctx, 0, 1, room) != nil {
				return
			}
		}
	})
	var took []time.Duration
	message, room := body(1, lagBytes), make([]byte, lagBytes)
	for i := range lagCount {
		if i == at {
			fault()
		}
		start := time.Now()
		require.NoError(t, ends[0].Send(ctx, 1, 1, message))
		_, err := ends[0].Recv(ctx, 1, 1, room)
		require.NoError(t, err)
		took = append(took, time.Since(start))
		require.True(t, bytes.Equal(room, message))
	}
	wg.Wait()
	slices.Sort(took)
	return took
}

// lagged returns the median, 99th percentile and maximum of the rounds over k+m links one of which
// becomes bad.
func lagged(t *testing.T, k, m int, bad func(*badLink)) (p50, p99, worst time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		g := newGrid()
		ends := open(t, 2, k+m, Config{Parity: m}, g.wrap)
		for link := range k + m {
			g.each(link, 2, func(l *badLink) { l.rate.Store(linkRate) })
		}
		took := rounds(t, ends, lagCount/4, func() {
			if bad != nil {
				g.each(k-1, 2, bad)
			}
		})
		p50, p99, worst = took[lagCount/2], took[lagCount*99/100-1], took[lagCount-1]
		closeEnds(ends)
	})
	return p50, p99, worst
}

// TestLaggingLink runs in virtual time, so its figures are exact: with parity a link that is ten
// times slower, or stops for good, in the middle of the run costs not even a single round more than
// a fifth; without, the slower one costs every round at least fivefold.
func TestLaggingLink(t *testing.T) {
	if testing.Short() {
		t.Skip("moves much, one goroutine at a time")
	}
	slow := func(l *badLink) { l.rate.Store(linkRate / 10) }
	stall := func(l *badLink) { l.stalled.Store(true) }
	_, healthy, _ := lagged(t, 4, 1, nil)
	for name, bad := range map[string]func(*badLink){"throttled": slow, "stalled": stall} {
		t.Run(name, func(t *testing.T) {
			p50, p99, worst := lagged(t, 4, 1, bad)
			t.Logf("4+1: healthy p99 %v; %s p50 %v, p99 %v, worst %v", healthy, name, p50, p99, worst)
			require.LessOrEqual(t, float64(p99), 1.2*float64(healthy))
			require.LessOrEqual(t, float64(worst), 1.2*float64(healthy))
		})
	}
	_, plain, _ := lagged(t, 5, 0, nil)
	p50, p99, _ := lagged(t, 5, 0, slow)
	t.Logf("5+0: healthy p99 %v; throttled p50 %v, p99 %v", plain, p50, p99)
	require.GreaterOrEqual(t, float64(p50), 5*float64(plain))
}

// TestRecoveredLink: a link that has lagged and been skipped carries its part again once it has
// recovered.
func TestRecoveredLink(t *testing.T) {
	if testing.Short() {
		t.Skip("moves much, one goroutine at a time")
	}
	for _, link := range []int{0, 4} {
		t.Run(fmt.Sprint(link), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGrid()
				ends := open(t, 2, 5, Config{Parity: 1}, g.wrap)
				for i := range 5 {
					g.each(i, 2, func(l *badLink) { l.rate.Store(linkRate) })
				}
				bad := g.at(link, 0)
				sent := func() uint64 { return bad.WireBytes() }
				bad.rate.Store(linkRate / 100)
				rounds(t, ends, -1, nil)
				before := sent()
				require.Less(t, before, uint64(lagCount*lagBytes/4/4), "it has been skipped")
				bad.rate.Store(linkRate)
				rounds(t, ends, -1, nil) // it still sends a frame at its old rate
				before = sent()
				rounds(t, ends, -1, nil)
				require.Greater(t, sent()-before, uint64(lagCount*lagBytes/4*9/10), "it is used again")
				closeEnds(ends)
			})
		})
	}
}

// TestIdleLinks: links whose own bound on an operation is far below the time that nothing is sent
// stay alive.
func TestIdleLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := open(t, 2, 3, Config{Limits: transport.Limits{Heartbeat: time.Second}, Parity: 1}, recvLimit(3*time.Second).wrap)
		time.Sleep(time.Hour) // sleep-ok: on the bubble's clock
		require.NoError(t, pass(context.Background(), ends, sizes...))
		closeEnds(ends)
	})
}
