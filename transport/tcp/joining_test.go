package tcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// joinErrors has n ranks join that cannot all do so, and returns their errors.
func joinErrors(t *testing.T, n int, change func(c *Config)) []error {
	addr := loopback.Addr()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() {
			cfg := Config{Identity: rendezvous.Identity{Rank: transport.Rank(r), Size: n, Addr: addr, Job: t.Name()}, Limits: transport.Limits{JoinTimeout: 5 * time.Minute}}
			change(&cfg)
			var end *Transport
			if end, errs[r] = Join(t.Context(), cfg); errs[r] == nil {
				_ = end.Close()
			}
		})
	}
	wg.Wait()
	return errs
}

// failDials has a rank's attempts to reach others, but not the rendezvous, fail.
func failDials(c *Config, why error) {
	system, meeting := rendezvous.Net{}.WithDefaults(), c.Addr
	c.Net.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		if addr == meeting {
			return system.Dial(ctx, addr)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err() // it says nothing of the cause
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: why}
	}
}

// TestRankThatCannotBeDialledIsNamedWithTheReason: all ranks say which rank could not be reached,
// where, and why.
func TestRankThatCannotBeDialledIsNamedWithTheReason(t *testing.T) {
	for _, why := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.EPERM} {
		t.Run(why.Error(), func(t *testing.T) {
			t.Parallel() // it only waits
			errs := joinErrors(t, 3, func(c *Config) {
				c.JoinTimeout = 4 * time.Second // enough to meet on a busy machine
				if c.Rank == 1 {
					failDials(c, why)
				}
			})
			for r, err := range errs {
				require.ErrorIs(t, err, transport.ErrTimeout, "rank %d", r)
				require.Equal(t, transport.Rank(0), transport.CulpritOf(err), "rank %d: %v", r, err)
				require.ErrorContains(t, err, why.Error())
				require.ErrorContains(t, err, "dial 127.0.0.1:")
			}
		})
	}
}

// TestShortageWhileConnectingIsEverybodysReason: it ends the joining long before the timeout, and
// names who is short.
func TestShortageWhileConnectingIsEverybodysReason(t *testing.T) {
	begin := time.Now()
	for _, why := range []error{syscall.EMFILE, syscall.ENOMEM} {
		for r, err := range joinErrors(t, 3, func(c *Config) {
			if c.Rank == 2 {
				failDials(c, why)
			}
		}) {
			require.Equal(t, transport.Rank(2), transport.CulpritOf(err), "rank %d: %v", r, err)
			require.ErrorContains(t, err, why.Error())
		}
	}
	for r, err := range joinErrors(t, 3, func(c *Config) {
		meeting := c.Addr
		if c.Rank != 1 {
			return
		}
		c.Net.Listen = func(ctx context.Context, addr string) (net.Listener, error) {
			l, err := rendezvous.Net{}.WithDefaults().Listen(ctx, addr)
			if addr == meeting {
				return l, err
			}
			return full{l}, err
		}
	}) {
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err), "rank %d: %v", r, err)
		require.ErrorContains(t, err, "accept connections")
		require.ErrorContains(t, err, syscall.EMFILE.Error())
	}
	require.Less(t, time.Since(begin), time.Minute)
}

// full is a listener of a process that has no descriptors left.
type full struct{ net.Listener }

func (full) Accept() (net.Conn, error) { return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE} }

// TestSlowRankIsNotDead: a rank that opens its last connection long after the others have theirs is
// not dead for its silence, which is longer than DeadAfter.
func TestSlowRankIsNotDead(t *testing.T) {
	ends := openAll(t, 3, func(c *Config) {
		c.Heartbeat, c.DeadAfter = 20*time.Millisecond, 400*time.Millisecond
		if c.Rank != 2 {
			return
		}
		system, meeting := rendezvous.Net{}.WithDefaults(), c.Addr
		var mu sync.Mutex
		first := ""
		c.Net.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			mu.Lock()
			if first == "" && addr != meeting {
				first = addr
			}
			slow := addr != meeting && addr != first
			mu.Unlock()
			if slow {
				time.Sleep(3 * c.DeadAfter) // sleep-ok: the slowness of this rank is what is tested
			}
			return system.Dial(ctx, addr)
		}
	})
	requireHears(t, ends[2], ends[0])
}

// TestNameOfRankZeroMayAppearLate: ranks start before it resolves, and before there is a route.
func TestNameOfRankZeroMayAppearLate(t *testing.T) {
	ends := openAll(t, 3, func(c *Config) {
		_, port, _ := net.SplitHostPort(c.Addr)
		c.Addr = "pod-0.service.:" + port
		asked, routed := 0, 0
		c.Net.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			if asked++; asked%3 != 0 {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		route := rendezvous.Net{}.WithDefaults().Route
		c.Net.Route = func(to netip.AddrPort) (netip.Addr, error) {
			if routed++; routed < 3 {
				return netip.Addr{}, syscall.ENETUNREACH
			}
			return route(to)
		}
	})
	requireHears(t, ends[1], ends[0])
}

// TestRanksMeetOnLoopbackOfIPv6: with an address, and with a name.
func TestRanksMeetOnLoopbackOfIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 loopback")
	} else {
		_ = l.Close()
	}
	six := func() ([]netip.Addr, error) { return []netip.Addr{netip.IPv6Loopback()}, nil }
	for _, host := range []string{"::1", "127.0.0.1", "localhost", "myhost"} {
		ends := openAll(t, 2, func(c *Config) {
			_, port, _ := net.SplitHostPort(c.Addr)
			c.Addr, c.LocalSize, c.Net.Local = net.JoinHostPort(host, port), 2, six
			c.Net.Resolve = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("not asked") }
		})
		requireHears(t, ends[1], ends[0])
	}
}
