package striped

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/transport"
)

// body returns n bytes that only seed determines.
func body(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// pass sends messages of the given lengths from rank 0 to rank 1 and checks what arrives.
func pass(ctx context.Context, ends []*Transport, sizes ...int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var sent error
	wg.Go(func() {
		for i, n := range sizes {
			if sent = ends[0].Send(ctx, 1, 5, body(uint64(i), n)); sent != nil {
				cancel(sent)
				return
			}
		}
	})
	received := func() error {
		for i, n := range sizes {
			room := make([]byte, n+3)
			got, err := ends[1].Recv(ctx, 0, 5, room[:n/3], room[n/3:])
			if err != nil {
				cancel(err)
				return err
			}
			if !bytes.Equal(room[:got], body(uint64(i), n)) {
				return fmt.Errorf("message %d of %d bytes came wrong", i, n)
			}
		}
		return nil
	}()
	wg.Wait()
	if received != nil {
		return received
	}
	return sent
}

// small makes blocks out of a few bytes, so that short messages have many.
func small(m int) Config {
	return Config{
		Limits: transport.Limits{OpTimeout: 20 * time.Second, CloseTimeout: 50 * time.Millisecond},
		Parity: m, MinStripe: 16, StripeBytes: 256, LinkBytes: 1 << 20,
	}
}

var sizes = []int{0, 1, 63, 64, 65, 200, 1023, 1024, 1025, 4096, 5000, 20_000, 3, 100_000}

// TestAnyLoss loses any m stripes of every block, by dropping or by corrupting them: the bytes are
// the same.
func TestAnyLoss(t *testing.T) {
	for _, c := range []struct{ k, m int }{{1, 1}, {1, 2}, {4, 1}, {2, 2}, {3, 3}} {
		t.Run(fmt.Sprintf("%d+%d", c.k, c.m), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				seed := rapid.Uint64().Draw(rt, "seed")
				lengths := rapid.SliceOfN(rapid.IntRange(0, 9000), 1, 12).Draw(rt, "sizes")
				l := &loser{seed: seed, k: c.k, m: c.m, lost: make(map[[2]uint64]int)}
				ends := open(t, 2, c.k+c.m, small(c.m), func(link int, r transport.Rank, in transport.Transport) transport.Transport {
					b := newBadLink(in)
					b.tamper = func(_ transport.Rank, frame []byte) bool { return l.tamper(link, frame) }
					return b
				})
				defer closeEnds(ends)
				require.NoError(rt, pass(context.Background(), ends, lengths...))
			})
		})
	}
}

// loser loses m stripes of each block: of one that is coded those on m links that the seed chooses,
// of one that is sent in copies the first m.
type loser struct {
	seed uint64
	k, m int
	mu   sync.Mutex
	lost map[[2]uint64]int
}

func (l *loser) tamper(link int, frame []byte) (pass bool) {
	h, _, err := decodeFrame(frame)
	if err != nil || h.kind != kindStripe {
		return true
	}
	at := [2]uint64{h.message, uint64(h.block)}
	r := rand.New(rand.NewPCG(l.seed, h.message<<20+uint64(h.block)))
	l.mu.Lock()
	defer l.mu.Unlock()
	hit := l.lost[at] < l.m
	if h.k > 1 {
		hit = false
		for _, chosen := range r.Perm(l.k + l.m)[:l.m] {
			hit = hit || chosen == link
		}
	}
	if !hit {
		return true
	}
	l.lost[at]++
	if r.IntN(2) == 0 {
		return false
	}
	frame[r.IntN(len(frame))] ^= 1 << r.IntN(8)
	return true
}

// TestStalledLinks stops m links for good in the middle of a message, on both sides.
func TestStalledLinks(t *testing.T) {
	for _, c := range []struct{ k, m int }{{1, 1}, {4, 1}, {2, 2}} {
		t.Run(fmt.Sprintf("%d+%d", c.k, c.m), func(t *testing.T) {
			g := newGrid()
			ends := open(t, 2, c.k+c.m, small(c.m), g.wrap)
			require.NoError(t, pass(context.Background(), ends, sizes...))
			for link := range c.m {
				g.each(link, 2, func(l *badLink) { l.stalled.Store(true) })
			}
			for range 3 {
				require.NoError(t, pass(context.Background(), ends, sizes...))
			}
		})
	}
}

// TestLinksDieInTheMiddle breaks m links while messages are under way; one more breaks the
// transport, with an error that names all of them.
func TestLinksDieInTheMiddle(t *testing.T) {
	const k, m = 2, 2
	log := &lines{}
	cfg := small(m)
	cfg.Log = log.logger()
	g := newGrid()
	ends := open(t, 3, k+m, cfg, func(link int, r transport.Rank, in transport.Transport) transport.Transport {
		l := g.wrap(link, r, in).(*badLink)
		var frames atomic.Int64
		l.tamper = func(to transport.Rank, _ []byte) bool {
			if frames.Add(1) == int64(30*(link+1)) && r == 0 && link < m {
				l.Abort(nil)
			}
			return true
		}
		return l
	})
	for range 3 {
		require.NoError(t, pass(context.Background(), ends, sizes...))
	}
	require.Eventually(t, func() bool { return log.count("link dead") == 3*m }, 10*time.Second, time.Millisecond)
	require.Zero(t, log.count("transport broken"))
	g.at(3, 0).Abort(nil)
	for r, e := range ends {
		_, err := e.Recv(context.Background(), transport.Rank((r+1)%3), 9, nil)
		require.ErrorIs(t, err, transport.ErrPeerDead)
		require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
		require.ErrorContains(t, err, "link 0, link 1, link 3 of 4 dead, parity 2")
	}
}

// lines counts log lines.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// TestTooMuchCorrupt: with more than m stripes of a block corrupt there is an error at once, on
// both sides.
func TestTooMuchCorrupt(t *testing.T) {
	for m := range 3 {
		t.Run(fmt.Sprint(m), func(t *testing.T) {
			ends := open(t, 2, 2+m, small(m), func(link int, _ transport.Rank, in transport.Transport) transport.Transport {
				l := newBadLink(in)
				l.tamper = func(_ transport.Rank, frame []byte) bool {
					if h, _, _ := decodeFrame(frame); h.kind == kindStripe && h.message == 2 && link <= m {
						frame[len(frame)-1] ^= 4
					}
					return true
				}
				return l
			})
			err := pass(context.Background(), ends, 500, 500, 500, 500)
			require.ErrorIs(t, err, transport.ErrCorrupt)
			require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
			_, err = ends[0].Recv(context.Background(), 1, 1, nil)
			require.ErrorIs(t, err, transport.ErrCorrupt, "the sender hears of it too")
		})
	}
}

// TestLost: more than m stripes lost without a trace end in a timeout.
func TestLost(t *testing.T) {
	cfg := small(1)
	cfg.OpTimeout = 50 * time.Millisecond
	ends := open(t, 2, 3, cfg, func(link int, _ transport.Rank, in transport.Transport) transport.Transport {
		l := newBadLink(in)
		l.tamper = func(_ transport.Rank, frame []byte) bool { return link > 1 || frame[5] != byte(kindStripe) }
		return l
	})
	require.ErrorIs(t, pass(context.Background(), ends, 500), transport.ErrTimeout)
}
