package tcp

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/faultproxy"
)

const (
	quickBeat  = 100 * time.Millisecond
	quickDeath = 4 * time.Second
	// slack is what a loaded machine may take on top of a limit.
	slack = 30 * time.Second
)

func quick(c *Config) { c.Heartbeat, c.DeadAfter = quickBeat, quickDeath }

// TestABlackHoledRankIsFoundDead: nobody but the heartbeats can tell, since no socket fails.
func TestABlackHoledRankIsFoundDead(t *testing.T) {
	for name, c := range map[string]struct {
		cut   func(p *faultproxy.Proxy)
		ranks []transport.Rank // those that can be told who it is
	}{
		"both ways": {func(p *faultproxy.Proxy) { p.Tx.Blackhole(); p.Rx.Blackhole() }, []transport.Rank{0, 1}},
		// The rank that is not heard still hears what the others say of it.
		"one way": {func(p *faultproxy.Proxy) { p.Tx.Blackhole() }, []transport.Rank{0, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := openProxied(t, 3, quick)
			exchangeProxied(t, job.ends, 100) // silence counts from the first sign of life on
			for _, p := range job.of(2) {
				c.cut(p)
			}
			start := time.Now()
			for r, err := range job.waitAll(t.Context(), c.ranks...) {
				require.ErrorIs(t, err, transport.ErrPeerDead, "rank %d", r)
				require.Equal(t, transport.Rank(2), transport.CulpritOf(err), "rank %d: %v", r, err)
			}
			require.Less(t, time.Since(start), quickDeath+slack)
			t.Logf("found dead after %v, limit %v", time.Since(start), quickDeath)
		})
	}
}

func TestAResetNamesThePeer(t *testing.T) {
	job := openProxied(t, 2, func(*Config) {})
	job.links[[2]transport.Rank{0, 1}].ResetListener()
	for r, err := range job.waitAll(t.Context(), 0, 1) {
		require.ErrorIs(t, err, transport.ErrPeerDead, "rank %d", r)
		require.Equal(t, 1-r, transport.CulpritOf(err), "rank %d: %v", r, err)
	}
}

// TestAShortPauseDoesNoHarm: longer than many heartbeats, shorter than death.
func TestAShortPauseDoesNoHarm(t *testing.T) {
	job := openProxied(t, 3, func(c *Config) { c.Heartbeat, c.DeadAfter = quickBeat, 2*slack })
	start := time.Now()
	for _, p := range job.of(1) {
		p.Tx.Pause()
		p.Rx.Pause()
		time.AfterFunc(7*quickBeat, func() { p.Tx.Resume(); p.Rx.Resume() })
	}
	exchangeProxied(t, job.ends, 200_000)
	require.GreaterOrEqual(t, time.Since(start), 7*quickBeat, "the pause has held the exchange up")
}

func TestDelayAndJitterChangeNothingButTime(t *testing.T) {
	job := openProxied(t, 3, func(*Config) {})
	for _, p := range job.all {
		p.Tx.Delay(time.Millisecond, 3*time.Millisecond)
		p.Rx.Delay(time.Millisecond, 3*time.Millisecond)
	}
	for range 5 {
		exchangeProxied(t, job.ends, 100_000)
	}
}

// exchangeProxied has every rank send every other one size bytes, and checks them.
func exchangeProxied(t *testing.T, ends []*Transport, size int) {
	t.Helper()
	errs := make([]error, len(ends))
	var wg sync.WaitGroup
	for r, e := range ends {
		wg.Go(func() { errs[r] = exchangeChecked(t.Context(), e, size) })
	}
	wg.Wait()
	for r := range errs {
		require.NoError(t, errs[r], "rank %d", r)
	}
}

func exchangeChecked(ctx context.Context, e *Transport, size int) error {
	fill := func(from, to transport.Rank) []byte { return bytes.Repeat([]byte{byte(10*from + to)}, size) }
	var sends, recvs []transport.Message
	for peer := range transport.Rank(e.Size()) {
		sends = append(sends, transport.Message{Peer: peer, Tag: 1, Bufs: [][]byte{fill(e.Rank(), peer)}})
		recvs = append(recvs, transport.Message{Peer: peer, Tag: 1, Bufs: [][]byte{make([]byte, size)}})
	}
	if err := e.Exchange(ctx, sends, recvs); err != nil {
		return err
	}
	for _, m := range recvs {
		if !bytes.Equal(m.Bufs[0], fill(m.Peer, e.Rank())) {
			return fmt.Errorf("wrong bytes from rank %d", m.Peer)
		}
	}
	return nil
}

// TestADamagedByteIsNeverWrongData flips one bit on the way, in whichever stream's header or
// payload it happens to be.
func TestADamagedByteIsNeverWrongData(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(7, uint64(i)))
			damage(t, r.IntN(20_000), byte(1)<<r.IntN(8))
		})
	}
}

// damage flips the bit in byte number at of what rank 1 sends to rank 0.
func damage(t *testing.T, at int, bit byte) {
	job := openProxied(t, 2, quick)
	flipped := make(chan struct{})
	job.links[[2]transport.Rank{0, 1}].Tx.Modify(func(b []byte) []byte {
		if at >= 0 && at < len(b) {
			b[at] ^= bit
			close(flipped)
		}
		at -= len(b)
		return b
	})
	body := bytes.Repeat([]byte("switchyard"), 100)
	go func() {
		for job.ends[1].Send(t.Context(), 0, 1, body) == nil {
		}
	}()
	for {
		room := make([]byte, 2*len(body))
		n, err := job.ends[0].Recv(t.Context(), 1, 1, room)
		if err != nil {
			<-flipped
			require.ErrorIs(t, err, transport.ErrCorrupt)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
			return
		}
		require.Equal(t, string(body), string(room[:n]))
	}
}
