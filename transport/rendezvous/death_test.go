package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// atOnce bounds the time until all ranks know of a death: far less than the timeouts of these
// tests, and far more than needed on a busy machine.
const atOnce = 15 * time.Second

// startAll runs Start for each configuration at once, then finish, and returns the errors.
func startAll(t *testing.T, configs []Config, finish func(m *Meeting, rank int) error) []error {
	errs := make([]error, len(configs))
	begin := time.Now()
	var wg sync.WaitGroup
	for i, c := range configs {
		wg.Go(func() {
			m, err := Start(t.Context(), c)
			if err == nil {
				err = finish(m, int(c.Rank))
			}
			errs[i] = err
		})
	}
	wg.Wait()
	require.Less(t, time.Since(begin), atOnce)
	return errs
}

// slowJob is job with a timeout that no test waits for.
func slowJob(t testing.TB, n int) []Config {
	configs := job(t, n)
	for r := range configs {
		configs[r].Timeout = 5 * time.Minute
	}
	return configs
}

// breakingDial returns a Dial whose connections break after that many messages from rank 0, as
// those of a killed process.
func breakingDial(messages int) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		if messages < 0 {
			return nil, errors.New("this process is dead")
		}
		c, err := Net{}.WithDefaults().Dial(ctx, addr)
		return &breakingConn{Conn: c, left: &messages}, err
	}
}

type breakingConn struct {
	net.Conn
	left *int
}

func (c *breakingConn) Read(b []byte) (int, error) {
	if len(b) >= headBytes && *c.left == 0 {
		*c.left--
		_ = c.Close()
	}
	if len(b) == headBytes {
		*c.left--
	}
	return c.Conn.Read(b)
}

// killable records each rank's connections, and returns a function that breaks all those of a rank
// at once, as the end of its process does.
func killable(configs []Config) (kill func(rank int)) {
	ranks := make([]connections, len(configs))
	system := Net{}.WithDefaults()
	for r := range configs {
		l := &ranks[r]
		configs[r].Net.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := system.Dial(ctx, addr)
			return l.record(c), err
		}
		configs[r].Net.Listen = func(ctx context.Context, addr string) (net.Listener, error) {
			listener, err := system.Listen(ctx, addr)
			return &recording{listener, l}, err
		}
	}
	return func(rank int) { ranks[rank].end() }
}

// connections are those of one rank.
type connections struct {
	mu    sync.Mutex
	over  bool
	conns []net.Conn
}

func (l *connections) record(c net.Conn) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c == nil {
		return nil
	}
	l.conns = append(l.conns, c)
	return &killableConn{c, l}
}

func (l *connections) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for _, c := range l.conns {
		_ = c.Close()
	}
}

type killableConn struct {
	net.Conn
	owner *connections
}

func (c *killableConn) Write(b []byte) (int, error) {
	c.owner.mu.Lock()
	defer c.owner.mu.Unlock()
	if c.owner.over {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

type recording struct {
	net.Listener
	owner *connections
}

func (r *recording) Accept() (net.Conn, error) {
	c, err := r.Listener.Accept()
	return r.owner.record(c), err
}

func requireDead(t *testing.T, errs []error, dead transport.Rank) {
	t.Helper()
	for r, err := range errs {
		if transport.Rank(r) == dead {
			continue
		}
		require.ErrorIs(t, err, transport.ErrPeerDead, "rank %d", r)
		require.Equal(t, dead, transport.CulpritOf(err), "rank %d: %v", r, err)
	}
}

// TestDeathWhileRanksMeetIsKnownAtOnce: rank 3 never joins, and rank 2 dies once it has been
// welcomed.
func TestDeathWhileRanksMeetIsKnownAtOnce(t *testing.T) {
	configs := slowJob(t, 4)[:3]
	configs[2].Net.Dial = breakingDial(1)
	configs[2].Timeout = 3 * time.Second // it cannot connect again
	errs := startAll(t, configs, func(m *Meeting, _ int) error { return m.Finish(nil) })
	requireDead(t, errs, 2)
}

// TestConnectionThatIsLostIsNoDeath: a rank whose connection breaks connects again, and the meeting
// goes on.
func TestConnectionThatIsLostIsNoDeath(t *testing.T) {
	configs := slowJob(t, 3)
	back := make(chan struct{})
	dials, broken, system := 0, breakingDial(1), Net{}.WithDefaults().Dial
	configs[2].Net.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		if dials++; dials == 1 {
			return broken(ctx, addr)
		}
		c, err := system(ctx, addr)
		if err == nil {
			close(back)
		}
		return c, err
	}
	configs[1].Net.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		<-back
		return system(ctx, addr)
	}
	for _, err := range startAll(t, configs, func(m *Meeting, _ int) error { return m.Finish(nil) }) {
		require.NoError(t, err)
	}
	require.Equal(t, 2, dials)
}

// TestDeathWhileConnectionsAreOpenedIsKnownAtOnce kills each rank in turn while the others wait for
// its connections.
func TestDeathWhileConnectionsAreOpenedIsKnownAtOnce(t *testing.T) {
	for dead := range 4 {
		t.Run(fmt.Sprint("rank ", dead), func(t *testing.T) {
			configs := slowJob(t, 4)
			kill := killable(configs)
			errs := startAll(t, configs, func(m *Meeting, rank int) error {
				if rank == dead {
					kill(rank)
					return nil
				}
				<-m.Context().Done() // it would wait for rank dead's connections
				return m.Finish(fmt.Errorf("opening connections: %w", context.Cause(m.Context())))
			})
			requireDead(t, errs, transport.Rank(dead))
		})
	}
}

// TestDeathAfterConnectionsWereOpenedIsKnownAtOnce: the others have opened theirs, and wait for
// the dead one's report.
func TestDeathAfterConnectionsWereOpenedIsKnownAtOnce(t *testing.T) {
	configs := slowJob(t, 3)
	kill := killable(configs)
	errs := startAll(t, configs, func(m *Meeting, rank int) error {
		if rank != 2 {
			return m.Finish(nil)
		}
		kill(rank)
		return nil
	})
	requireDead(t, errs, 2)
}

// TestFailureToOpenConnectionsIsThatOfAllRanks: the error of the first that fails is the error of
// all, with its rank and cause.
func TestFailureToOpenConnectionsIsThatOfAllRanks(t *testing.T) {
	for failing := range 3 {
		errs := startAll(t, slowJob(t, 3), func(m *Meeting, rank int) error {
			if rank == failing {
				return m.Finish(&transport.Error{Rank: 1, Op: "join", Err: fmt.Errorf("too many open files: %w", transport.ErrMismatch)})
			}
			<-m.Context().Done()
			return m.Finish(context.Cause(m.Context()))
		})
		for r, err := range errs {
			require.ErrorIs(t, err, transport.ErrMismatch, "rank %d", r)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
			require.ErrorContains(t, err, "too many open files")
		}
	}
}

// TestRankThatOpensNoConnectionsIsNamed: a rank that hangs is blamed, and else the one that another
// could not dial.
func TestRankThatOpensNoConnectionsIsNamed(t *testing.T) {
	t.Parallel() // it only waits
	configs := job(t, 4)
	for r := range configs {
		configs[r].Timeout = enough
	}
	over := make(chan struct{})
	var once sync.Once
	errs := startAll(t, configs, func(m *Meeting, rank int) error {
		if rank == 2 {
			<-over // it neither opens its connections nor reports why
			return m.Finish(nil)
		}
		defer once.Do(func() { close(over) })
		<-m.Context().Done()
		return m.Finish(&transport.Error{Rank: transport.Rank(rank+1) % 4, Op: "join", Err: transport.ErrTimeout})
	})
	for r, err := range errs {
		require.ErrorIs(t, err, transport.ErrTimeout, "rank %d", r)
		require.Equal(t, transport.Rank(2), transport.CulpritOf(err), "rank %d: %v", r, err)
	}
	errs = startAll(t, withAddr(t, configs), func(m *Meeting, rank int) error {
		<-m.Context().Done()
		blamed, why := transport.Rank(3), "no connection with rank 3"
		if rank == 3 { // which dials, so that only it knows
			blamed, why = 1, "dial 127.0.0.1:9: connection refused"
		}
		return m.Finish(&transport.Error{Rank: blamed, Op: "join", Err: fmt.Errorf("%s: %w", why, transport.ErrTimeout)})
	})
	for r, err := range errs {
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err), "rank %d: %v", r, err)
		require.ErrorContains(t, err, "dial 127.0.0.1:9: connection refused")
		require.ErrorContains(t, err, "found by rank 3")
	}
}

// withAddr returns configs at another address.
func withAddr(t testing.TB, configs []Config) []Config {
	addr := freeAddr(t)
	out := make([]Config, len(configs))
	for r, c := range configs {
		out[r] = c
		out[r].Addr = addr
	}
	return out
}

// TestNewerStartOfAnAgentReplacesItsEarlierRanks: a rank of an earlier start of an agent is
// replaced by that of the next one.
func TestNewerStartOfAnAgentReplacesItsEarlierRanks(t *testing.T) {
	configs := slowJob(t, 4)
	for r := range configs {
		configs[r].Agent = fmt.Sprint("agent ", r/2)
		configs[r].Restart = 7
	}
	old := configs[3]
	old.Restart = 6
	welcomed := make(chan struct{})
	configs[0].Net.Listen = notifyWrites(kindWelcome, welcomed)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := Start(t.Context(), old)
		requireThat(t, func(t require.TestingT) {
			require.ErrorIs(t, err, transport.ErrDuplicateRank)
			require.ErrorContains(t, err, "rank 3 belongs to start 6")
		})
	})
	var zero error
	wg.Go(func() { _, zero = Meet(t.Context(), configs[0]) })
	<-welcomed // the old rank 3
	errs := startAll(t, configs[1:], func(m *Meeting, _ int) error { return m.Finish(nil) })
	wg.Wait()
	require.NoError(t, errors.Join(append(errs, zero)...))
}
