package rendezvous

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// addressError is an error about an address that another attempt cannot fix.
type addressError struct{ error }

func badAddress(format string, args ...any) error { return &addressError{fmt.Errorf(format, args...)} }

func isBadAddress(err error) bool {
	var e *addressError
	return errors.As(err, &e)
}

// addrPorts returns the addresses at which ranks look for rank 0. Rank 0 listens at the first that
// belongs to its machine. All ranks of one machine get the same ones:
//
//   - An address is itself; 127.0.0.1 is ::1 if a machine has no other loopback address. So is
//     "localhost".
//   - If all ranks run on one machine, a name is that machine's loopback address, and so is an
//     address that could not be used without security.
//   - Any other name is what it resolves to. Without security, only its loopback addresses count.
//   - With security, or Insecure, only its other addresses count. If there are none, because the
//     hosts file gives a machine's own name the address 127.0.1.1, it is the address by which
//     other machines reach this one.
func (c *Config) addrPorts(ctx context.Context) ([]netip.AddrPort, error) {
	host, port, err := splitAddr(c.Addr)
	if err != nil {
		return nil, err
	}
	addrs, err := c.addresses(ctx, host)
	out := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		out[i] = netip.AddrPortFrom(a, port)
	}
	return out, err
}

func (c *Config) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	allHere := c.LocalSize == c.Size && c.Size > 0
	ip, literal := parseHost(host)
	switch {
	case literal && ip.IsLoopback():
		return []netip.Addr{c.loopback(ip)}, nil
	case literal && c.open():
		return []netip.Addr{ip}, nil
	case allHere || isLocalhost(host):
		return []netip.Addr{c.loopback(netip.AddrFrom4([4]byte{127, 0, 0, 1}))}, nil
	case literal:
		return nil, notLoopback(c.Addr)
	}
	found, err := c.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	return c.choose(host, found)
}

// choose returns those of a name's addresses that may be used.
func (c *Config) choose(host string, found []netip.Addr) ([]netip.Addr, error) {
	var near, far []netip.Addr
	for _, a := range found {
		if a.IsLoopback() {
			near = append(near, a)
		} else {
			far = append(far, a)
		}
	}
	switch {
	case c.open() && len(far) > 0:
		return far, nil
	case c.open():
		out, err := c.outward()
		if err != nil {
			return nil, fmt.Errorf("%q is the loopback address %v here, which other machines cannot reach, and %w: "+
				"set the address of rank 0 (%s, JoinConfig.Addr) to one that they can", host, near[0], err, envAddr)
		}
		return []netip.Addr{out}, nil
	case len(near) == 0:
		return nil, fmt.Errorf("%q is %v: %w", host, far[0], notLoopback(c.Addr))
	case c.LocalSize > 0 && c.LocalSize < c.Size:
		return nil, badAddress("%q is the loopback address %v here, and only %d of %d ranks run on this machine: "+
			"configure Security or set Insecure, and rank 0 listens where the others can connect",
			host, near[0], c.LocalSize, c.Size)
	}
	return near, nil
}

// open reports whether addresses other than loopback may be used.
func (c *Config) open() bool { return c.Insecure || c.Security.Enabled() }

func notLoopback(addr string) error {
	return badAddress("address %q is not loopback, and ranks do not authenticate each other: configure Security, "+
		"or set Insecure to allow it", addr)
}

// resolve returns the addresses of a name, those of IPv4 first, without unspecified and multicast
// ones.
func (c *Config) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	all, err := c.Net.Resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range all {
		if a = a.Unmap(); !a.IsUnspecified() && !a.IsMulticast() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
	if len(out) == 0 {
		return nil, fmt.Errorf("name %q has no address to listen at", host)
	}
	return out, nil
}

// loopback returns ip, or ::1 on a machine that has no other loopback address.
func (c *Config) loopback(ip netip.Addr) netip.Addr {
	if !ip.Is4() {
		return ip
	}
	all, _ := c.Net.Local()
	six := netip.IPv6Loopback()
	if slices.ContainsFunc(all, func(a netip.Addr) bool { return a.Is4() && a.IsLoopback() }) || !slices.Contains(all, six) {
		return ip
	}
	return six
}

// documentation are addresses that represent any other machine; nothing is sent to them.
var documentation = []string{"192.0.2.1:9", "[2001:db8::1]:9"}

// outward is the address by which other machines reach this one: its only one, or that of its
// default route.
func (c *Config) outward() (netip.Addr, error) {
	all, err := c.Net.Local()
	if err != nil {
		return netip.Addr{}, err
	}
	four := slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return !a.Is4() || !a.IsGlobalUnicast() })
	six := slices.DeleteFunc(all, func(a netip.Addr) bool { return a.Is4() || !a.IsGlobalUnicast() })
	for _, some := range [][]netip.Addr{four, six} {
		if len(some) == 1 {
			return some[0], nil
		}
	}
	for _, to := range documentation {
		from, err := c.Net.Route(netip.MustParseAddrPort(to))
		if err == nil && from.IsGlobalUnicast() {
			return from, nil
		}
	}
	if len(four)+len(six) == 0 {
		return netip.Addr{}, errors.New("this machine has no other")
	}
	return netip.Addr{}, badAddress("this machine has several others, %v, and no default route", append(four, six...))
}

// LocalHost returns the address, without a port, at which this rank's own listener can be reached
// by the others: Host, or the one from which Addr is reached. It waits for the name to resolve and
// for a route until ctx ends or Timeout passes.
func LocalHost(ctx context.Context, c Config) (string, error) {
	if err := c.Validate(); err != nil {
		return "", err
	}
	c = c.withDefaults()
	begin := time.Now()
	deadline := c.deadline(ctx, begin)
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var last error
	for pause := minRetry; ; pause = min(2*pause, maxRetry) {
		host, err := c.localHost(limited)
		if err == nil {
			return host.String(), nil
		}
		if isBadAddress(err) {
			return "", &transport.Error{Rank: c.Rank, Op: opName, Err: err}
		}
		if last == nil || limited.Err() == nil {
			last = err
		}
		if pause == minRetry {
			c.Log.Warn("address of rank 0 not found yet", "addr", c.Addr, "err", err)
		}
		if !sleep(limited, pause) {
			return "", &transport.Error{Rank: 0, Op: opName, Err: c.expired(ctx, begin, "no way to "+c.Addr, last)}
		}
	}
}

func (c *Config) localHost(ctx context.Context) (netip.Addr, error) {
	if c.Host != "" {
		return c.ownHost(ctx)
	}
	addrs, err := c.addrPorts(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	var errs []error
	for _, p := range addrs {
		from, err := c.Net.Route(p)
		if err == nil {
			return from, nil
		}
		errs = append(errs, err)
	}
	return netip.Addr{}, errors.Join(errs...)
}

// ownHost is the address that Host names.
func (c *Config) ownHost(ctx context.Context) (netip.Addr, error) {
	ip, literal := parseHost(c.Host)
	found := []netip.Addr{ip}
	switch {
	case isLocalhost(c.Host):
		found[0] = c.loopback(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	case !literal:
		var err error
		if found, err = c.resolve(ctx, c.Host); err != nil {
			return netip.Addr{}, err
		}
	}
	for _, a := range found {
		if a.IsLoopback() || c.open() {
			return a, nil
		}
	}
	return netip.Addr{}, notLoopback(net.JoinHostPort(found[0].String(), "0"))
}

// Rezone returns the address and port addr of another machine. If it is link-local, its zone is
// replaced by that of this rank's own address: a zone names an interface of one machine.
func Rezone(addr, own string) string {
	theirs, err := netip.ParseAddrPort(addr)
	mine, errMine := netip.ParseAddrPort(own)
	if err != nil || errMine != nil || !theirs.Addr().IsLinkLocalUnicast() || theirs.Addr().Is4() {
		return addr
	}
	return netip.AddrPortFrom(theirs.Addr().WithZone(mine.Addr().Zone()), theirs.Port()).String()
}

// splitAddr splits host:port.
func splitAddr(addr string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, errtext.Errorf("rendezvous: address %q is not host:port: %w", addr, err)
	}
	if host == "" {
		return "", 0, fmt.Errorf("rendezvous: address %q names no host; listening on every address is not offered", addr)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("rendezvous: address %q: port %q is outside 0..65535", addr, text)
	}
	return host, uint16(n), nil
}

// parseHost parses a host that is an address, in brackets or not.
func parseHost(host string) (netip.Addr, bool) {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	ip, err := netip.ParseAddr(host)
	return ip.Unmap(), err == nil
}

func isLocalhost(host string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// sleep waits for d, and reports false if ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
