package rendezvous

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// machine is a network with these names and addresses.
func machine(names map[string]string, local ...string) Net {
	return Net{
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			if names[host] == "" {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return addrsOf(names[host]), nil
		},
		Local: func() ([]netip.Addr, error) { return addrsOf(local...), nil },
		Route: func(netip.AddrPort) (netip.Addr, error) { return netip.Addr{}, syscall.ENETUNREACH },
	}
}

func addrsOf(texts ...string) (out []netip.Addr) {
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// TestWhereRankZeroIsLookedFor is the table of docs/operations.md.
func TestWhereRankZeroIsLookedFor(t *testing.T) {
	debian := machine(map[string]string{"deb": "127.0.1.1", "deb.": "127.0.1.1"}, "127.0.0.1", "::1", "10.1.2.3", "fe80::1")
	known := machine(map[string]string{"node0": "10.1.2.3", "mapped": "::ffff:10.1.2.3", "blocked": "0.0.0.0"}, "127.0.0.1", "::1", "10.1.2.3")
	six := machine(map[string]string{"deb": "127.0.1.1"}, "::1", "2001:db8::7")
	several := machine(map[string]string{"deb": "127.0.1.1"}, "127.0.0.1", "10.1.2.3", "10.9.9.9")
	routed := several
	routed.Route = func(netip.AddrPort) (netip.Addr, error) { return netip.MustParseAddr("10.9.9.9"), nil }
	for _, c := range []struct {
		name  string
		net   Net
		addr  string
		local int // of 4 ranks
		open  bool
		want  string // or a part of the error
	}{
		{"a loopback address", known, "127.0.0.1:5", 0, false, "127.0.0.1:5"},
		{"another loopback address", known, "127.0.1.1:5", 0, true, "127.0.1.1:5"},
		{"localhost", known, "localhost:5", 0, true, "127.0.0.1:5"},
		{"localhost of DNS", known, "LocalHost.:5", 0, false, "127.0.0.1:5"},
		{"IPv6 loopback", known, "[::1]:5", 0, false, "[::1]:5"},
		{"no IPv4 loopback", six, "127.0.0.1:5", 0, false, "[::1]:5"},
		{"no IPv4 loopback, by name", six, "localhost:5", 0, false, "[::1]:5"},
		{"an address", known, "10.1.2.3:5", 0, true, "10.1.2.3:5"},
		{"an address with a zone", known, "[fe80::2%eth0]:5", 0, true, "[fe80::2%eth0]:5"},
		{"a zone without security", known, "[fe80::2%eth0]:5", 0, false, "not loopback"},
		{"an address without security", known, "10.1.2.3:5", 0, false, "configure Security, or set Insecure"},
		{"an address, all ranks here", known, "10.1.2.3:5", 4, false, "127.0.0.1:5"},
		{"an address that may be used, all ranks here", known, "10.1.2.3:5", 4, true, "10.1.2.3:5"},
		{"a name", known, "node0:5", 0, true, "10.1.2.3:5"},
		{"a mapped address", known, "mapped:5", 0, true, "10.1.2.3:5"},
		{"a name without security", known, "node0:5", 0, false, "configure Security, or set Insecure"},
		{"a name, all ranks here", known, "node0:5", 4, false, "127.0.0.1:5"},
		{"an unknown name, all ranks here", known, "nobody:5", 4, false, "127.0.0.1:5"},
		{"an unknown name", known, "nobody:5", 0, true, "no such host"},
		{"a name that stands for nothing", known, "blocked:5", 0, true, "no address to listen at"},
		{"Debian, without security", debian, "deb:5", 0, false, "127.0.1.1:5"},
		{"Debian, all ranks here", debian, "deb:5", 4, true, "127.0.0.1:5"},
		{"Debian, ranks elsewhere", debian, "deb:5", 2, true, "10.1.2.3:5"},
		{"Debian, qualified", debian, "deb.:5", 0, true, "10.1.2.3:5"},
		{"Debian, ranks elsewhere, without security", debian, "deb:5", 2, false, "only 2 of 4 ranks run on this machine: configure Security"},
		{"Debian, several networks", several, "deb:5", 2, true, "set the address of rank 0 (SWITCHYARD_ADDR"},
		{"Debian, several networks and a default route", routed, "deb:5", 2, true, "10.9.9.9:5"},
		{"Debian, IPv6 alone", six, "deb:5", 2, true, "[2001:db8::7]:5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{Size: 4, Addr: c.addr, LocalSize: c.local, Insecure: c.open, Net: c.net}
			cfg = cfg.withDefaults()
			got, err := cfg.addrPorts(t.Context())
			if err != nil {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.Len(t, got, 1)
			require.Equal(t, c.want, got[0].String())
		})
	}
}

// TestHostOfARank: a rank's own listener takes an address, in brackets or not, with a zone, or a
// name.
func TestHostOfARank(t *testing.T) {
	n := machine(map[string]string{"node0": "10.1.2.3", "deb": "127.0.1.1"}, "127.0.0.1", "10.1.2.3")
	for _, c := range []struct {
		host string
		open bool
		want string
	}{
		{"127.0.0.1", false, "127.0.0.1"}, {"[::1]", false, "::1"}, {"localhost", false, "127.0.0.1"}, {"deb", false, "127.0.1.1"},
		{"10.1.2.3", true, "10.1.2.3"}, {"node0", true, "10.1.2.3"}, {"[fe80::2%eth0]", true, "fe80::2%eth0"},
		{"10.1.2.3", false, "set Insecure"}, {"node0", false, "set Insecure"}, {"fe80::2%eth0", false, "set Insecure"},
	} {
		cfg := Config{Size: 2, Addr: "127.0.0.1:5", Host: c.host, Insecure: c.open, Net: n}
		got, err := LocalHost(t.Context(), cfg)
		if err != nil {
			require.ErrorContains(t, err, c.want, c.host)
			continue
		}
		require.Equal(t, c.want, got)
	}
}

func TestZoneIsThisMachines(t *testing.T) {
	require.Equal(t, "[fe80::2%en7]:5", Rezone("[fe80::2%eth0]:5", "[fe80::1%en7]:9"))
	require.Equal(t, "[2001:db8::2]:5", Rezone("[2001:db8::2]:5", "[fe80::1%en7]:9"))
	require.Equal(t, "10.0.0.1:5", Rezone("10.0.0.1:5", "10.0.0.2:9"))
	require.Equal(t, "@abstract", Rezone("@abstract", "10.0.0.2:9"))
}

// passing fails the given number of times with err and then does what f does.
func passing[A, R any](times int, err error, f func(A) (R, error)) func(A) (R, error) {
	var mu sync.Mutex
	return func(a A) (R, error) {
		mu.Lock()
		defer mu.Unlock()
		if times--; times >= 0 {
			var none R
			return none, err
		}
		return f(a)
	}
}

// TestRanksWaitForNameAndRoute: at first no rank can resolve rank 0's name, nor has a route to it.
func TestRanksWaitForNameAndRoute(t *testing.T) {
	noName := &net.DNSError{Err: "no such host", Name: "rank-0.job", IsNotFound: true}
	busy := &net.DNSError{Err: "server misbehaving", Name: "rank-0.job", IsTemporary: true}
	configs := slowJob(t, 3)
	for r := range configs {
		c := &configs[r]
		_, port, err := net.SplitHostPort(c.Addr)
		require.NoError(t, err)
		c.Addr = "rank-0.job:" + port
		resolve := passing(3, error(noName), passing(2, error(busy), func(string) ([]netip.Addr, error) { return addrsOf("127.0.0.1"), nil }))
		c.Net.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) { return resolve(host) }
		system := Net{}.WithDefaults()
		c.Net.Route = passing(2, error(syscall.ENETUNREACH), passing(2, error(syscall.EHOSTUNREACH), system.Route))
		dial := passing(2, error(syscall.ENETUNREACH), passing(2, error(syscall.EHOSTUNREACH), func(addr string) (net.Conn, error) { return system.Dial(t.Context(), addr) }))
		c.Net.Dial = func(_ context.Context, addr string) (net.Conn, error) { return dial(addr) }
		host, err := LocalHost(t.Context(), *c)
		require.NoError(t, err)
		require.Equal(t, "127.0.0.1", host)
		resolve = passing(3, error(noName), resolve) // once more, for the rendezvous
	}
	for _, err := range startAll(t, configs, func(m *Meeting, _ int) error { return m.Finish(nil) }) {
		require.NoError(t, err)
	}
}

// TestNameThatNeverResolvesIsTheReason: on a client and on rank 0, when the context or the timeout
// ends it.
func TestNameThatNeverResolvesIsTheReason(t *testing.T) {
	synctest.Test(t, requireNoSuchHost)
}

func requireNoSuchHost(t *testing.T) {
	for rank := range transport.Rank(2) {
		for _, limit := range []timeLimits{{0, 100}, {100, 0}} {
			c := Config{Rank: rank, Size: 2, Addr: "rank-0.job:5", Insecure: true, Net: machine(nil), Timeout: limit.timeout * time.Millisecond}
			limited := func(f func(context.Context) error) error {
				ctx := t.Context()
				if limit.context > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, limit.context*time.Millisecond)
					defer cancel()
				}
				return f(ctx)
			}
			errHost := limited(func(ctx context.Context) error { _, err := LocalHost(ctx, c); return err })
			errMeet := limited(func(ctx context.Context) error { _, err := Meet(ctx, c); return err })
			for _, err := range []error{errHost, errMeet} {
				require.ErrorIs(t, err, transport.ErrTimeout)
				require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
				require.ErrorContains(t, err, "rank-0.job")
				require.ErrorContains(t, err, "no such host")
			}
		}
	}
}

// TestLastFailureToDialIsTheReason: the error of a rank that cannot reach rank 0 contains the
// reason and the address.
func TestLastFailureToDialIsTheReason(t *testing.T) {
	synctest.Test(t, requireReasons)
}

func requireReasons(t *testing.T) {
	for _, why := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EACCES, syscall.EPERM} {
		c := job(t, 2)[1]
		c.Timeout = enough
		c.Net.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			if ctx.Err() != nil {
				return nil, ctx.Err() // without the cause
			}
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: why}
		}
		_, err := Meet(t.Context(), c)
		require.ErrorIs(t, err, transport.ErrTimeout)
		require.ErrorIs(t, err, why)
		require.ErrorContains(t, err, c.Addr)
	}
}

// TestShortageIsNamedAtOnce: on a client that cannot open a socket, and on rank 0 that cannot
// accept one.
func TestShortageIsNamedAtOnce(t *testing.T) {
	for _, short := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS} {
		configs := slowJob(t, 2)
		configs[1].Net.Dial = func(context.Context, string) (net.Conn, error) { return nil, short }
		errs := startAll(t, configs[1:], nil)
		require.ErrorIs(t, errs[0], short)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(errs[0]), "it is this rank that is short")
	}
	configs := slowJob(t, 2)
	configs[0].Net.Listen = func(ctx context.Context, addr string) (net.Listener, error) {
		l, err := Net{}.WithDefaults().Listen(ctx, addr)
		return full{l}, err
	}
	errs := startAll(t, configs[:1], nil)
	require.ErrorContains(t, errs[0], "rank 0 cannot accept connections")
	require.ErrorContains(t, errs[0], syscall.EMFILE.Error())
}

// full is a listener of a process that has no descriptors left.
type full struct{ net.Listener }

func (full) Accept() (net.Conn, error) { return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE} }

// TestRankZeroListensAtItsOwnAddress: a name may have addresses of several machines, of which one
// is rank 0's.
func TestRankZeroListensAtItsOwnAddress(t *testing.T) {
	c := job(t, 2)[0]
	v := clientOf(t, t.Context(), c)
	foreign := netip.MustParseAddrPort("192.0.2.1:5")
	l, err := v.listenAt(t.Context(), []netip.AddrPort{foreign, netip.MustParseAddrPort("127.0.0.1:0")})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = v.listenAt(t.Context(), []netip.AddrPort{foreign})
	require.ErrorContains(t, err, "192.0.2.1 is no address of this machine")
	require.True(t, errors.Is(err, syscall.EADDRNOTAVAIL))
}
