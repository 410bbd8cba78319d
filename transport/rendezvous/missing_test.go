package rendezvous

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// timeLimits are those of one rank in milliseconds: of its context and of the meeting; 0 is none.
type timeLimits struct{ context, timeout time.Duration }

// soon and late are limits: enough for the ranks of a loaded machine to meet, and more than
// anything that the test starts waits.
const soon, late = 3000, 60_000

// limits are the orders that the ranks' deadlines can have: first rank 0's, then that of all
// others.
var limits = map[string][2]timeLimits{
	"timeouts alone":              {{0, soon}, {0, soon}},
	"contexts alone":              {{soon, 0}, {soon, 0}},
	"contexts equal to timeouts":  {{soon, soon}, {soon, soon}},
	"contexts are shorter":        {{soon, late}, {soon, late}},
	"contexts are longer":         {{late, soon}, {late, soon}},
	"rank 0 has a short context":  {{soon, late}, {0, late}},
	"others have short contexts":  {{0, late}, {soon, late}},
	"rank 0 has a short timeout":  {{late, soon}, {late, late}},
	"others have short timeouts":  {{late, late}, {late, soon}},
	"rank 0's context is nearest": {{soon, soon + 100}, {soon + 100, soon + 200}},
	"rank 0 is the most patient":  {{soon + 200, soon + 100}, {soon, soon + 200}},
}

// TestMissingRanksAreNamedWhicheverDeadlineIsFirst leaves out ranks with every order of
// deadlines. All cases run at once, since they only wait. Each rank that waits names all of
// them, and blames the first.
func TestMissingRanksAreNamedWhicheverDeadlineIsFirst(t *testing.T) {
	const size = 4
	var wg sync.WaitGroup
	used := make(map[string]bool)
	for name, limit := range limits {
		for _, missing := range [][]int{{0}, {1}, {2}, {3}, {1, 2}, {1, 3}, {1, 2, 3}} {
			configs := job(t, size)
			for used[configs[0].Addr] {
				configs = job(t, size)
			}
			used[configs[0].Addr] = true
			for r := range configs {
				l := limit[min(r, 1)]
				if slices.Contains(missing, r) || !hasShort(limit, missing, size) {
					continue
				}
				c := configs[r]
				c.Job = fmt.Sprint(name, " without ", missing)
				wg.Go(func() { awaitMissing(t, c, l, missing) })
			}
		}
	}
	wg.Wait()
}

// hasShort reports whether one of the present ranks has a short limit.
func hasShort(limit [2]timeLimits, missing []int, size int) bool {
	for r := range size {
		if !slices.Contains(missing, r) && limit[min(r, 1)].isShort() {
			return true
		}
	}
	return false
}

func (p timeLimits) isShort() bool {
	return p.context > 0 && p.context < late || p.timeout > 0 && p.timeout < late
}

func awaitMissing(t *testing.T, c Config, limit timeLimits, missing []int) {
	ctx := t.Context()
	if limit.context > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit.context*time.Millisecond)
		defer cancel()
	}
	c.Timeout = limit.timeout * time.Millisecond
	start := time.Now()
	_, err := Meet(ctx, c)
	assertNamed(t, c, err, missing)
	if took := time.Since(start); took > late*time.Millisecond/2 {
		t.Errorf("%s: rank %d waited for %v", c.Job, c.Rank, took)
	}
}

func assertNamed(t *testing.T, c Config, err error, missing []int) bool {
	return requireThat(t, func(t require.TestingT) {
		require.ErrorIs(t, err, transport.ErrTimeout, "%s: rank %d", c.Job, c.Rank)
		require.Equal(t, transport.Rank(missing[0]), transport.CulpritOf(err), "%s: rank %d: %v", c.Job, c.Rank, err)
		if missing[0] == 0 {
			require.ErrorContains(t, err, c.Addr)
			return
		}
		require.ErrorContains(t, err, fmt.Sprintf("%d of %d ranks missing", len(missing), c.Size), "%s: rank %d", c.Job, c.Rank)
		require.ErrorContains(t, err, ": "+list(ranksOf(missing)), "%s: rank %d", c.Job, c.Rank)
	})
}

func ranksOf(numbers []int) (ranks []transport.Rank) {
	for _, n := range numbers {
		ranks = append(ranks, transport.Rank(n))
	}
	return ranks
}

// reports fails a test from another goroutine than its own, without ending that.
type reports struct {
	*testing.T
	failed bool
}

func (r *reports) Errorf(format string, args ...any) { r.failed = true; r.T.Errorf(format, args...) }
func (r *reports) FailNow()                          { r.failed = true; panic(r) }

// requireThat runs checks on any goroutine, and reports whether they held.
func requireThat(t *testing.T, checks func(require.TestingT)) (ok bool) {
	r := &reports{T: t}
	defer func() {
		if e := recover(); e != nil && e != any(r) {
			panic(e)
		}
		ok = !r.failed
	}()
	checks(r)
	return true
}

// TestEachRankKnowsWhoIsMissingBeforeItGivesUp: a rank whose context is cancelled says which ranks
// it waited for.
func TestEachRankKnowsWhoIsMissingBeforeItGivesUp(t *testing.T) {
	configs := job(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	knows := make(chan struct{})
	wg.Go(func() {
		c := configs[1]
		c.Net.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			conn, err := Net{}.WithDefaults().Dial(ctx, addr)
			return &missingConn{Conn: conn, knows: knows}, err
		}
		v := clientOf(t, ctx, c)
		_, err := v.join()
		requireThat(t, func(t require.TestingT) {
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, transport.Rank(2), transport.CulpritOf(err))
			require.ErrorContains(t, err, "1 of 3 ranks missing")
		})
	})
	wg.Go(func() {
		_, err := Meet(t.Context(), configs[0])
		requireThat(t, func(t require.TestingT) {
			require.ErrorIs(t, err, transport.ErrPeerClosed)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
			require.ErrorContains(t, err, "rank 1 has given up: context canceled")
		})
	})
	<-knows
	cancel()
	wg.Wait()
}

// missingConn closes knows when a message about missing ranks has been read and the next is waited
// for.
type missingConn struct {
	net.Conn
	knows chan struct{}
	heard bool
}

func (h *missingConn) Read(b []byte) (int, error) {
	if h.heard && len(b) == headBytes {
		close(h.knows)
		h.heard = false
	}
	n, err := h.Conn.Read(b)
	h.heard = h.heard || n == headBytes && wireKind(b[7]) == kindMissing
	return n, err
}

func clientOf(t testing.TB, ctx context.Context, c Config) *client {
	c = c.withDefaults()
	begin := time.Now()
	m := guard(t, c)
	return &client{cfg: c, mine: c.claim(), guard: m, parent: ctx, begin: begin, until: c.deadline(ctx, begin)}
}

// notifyWrites returns a Listen whose connections close seen once a message of kind has been
// written.
func notifyWrites(kind wireKind, seen chan struct{}) func(context.Context, string) (net.Listener, error) {
	var once sync.Once
	return func(ctx context.Context, addr string) (net.Listener, error) {
		l, err := Net{}.WithDefaults().Listen(ctx, addr)
		return &noticing{l, func(b []byte) {
			if len(b) > 8 && wireKind(b[7]) == kind {
				once.Do(func() { close(seen) })
			}
		}}, err
	}
}

type noticing struct {
	net.Listener
	wrote func([]byte)
}

func (n *noticing) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &noticedConn{c, n.wrote}, nil
}

type noticedConn struct {
	net.Conn
	wrote func([]byte)
}

func (c *noticedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.wrote(b)
	return n, err
}

func guard(t testing.TB, c Config) *secure.Guard {
	g, err := secure.NewGuard(c.Security, c.Job, c.Rank, nil)
	require.NoError(t, err)
	return g
}
