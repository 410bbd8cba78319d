package rendezvous

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Net holds the functions by which a rank uses the network. A nil field means the system's; tests
// replace them.
type Net struct {
	// Resolve returns the addresses of a host's name.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial opens a TCP connection to an address and port.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Listen opens a TCP listener on exactly one address and port.
	Listen func(ctx context.Context, addr string) (net.Listener, error)
	// Route returns the address of this machine from which to is reached, without sending anything.
	Route func(to netip.AddrPort) (netip.Addr, error)
	// Local returns the addresses of this machine's interfaces.
	Local func() ([]netip.Addr, error)
}

// watchMachine makes the kernel notice within six seconds that the machine at the other end of c is
// gone, while neither end sends.
func watchMachine(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 4})
	}
}

// WithDefaults returns n with the system's function in every nil field.
func (n Net) WithDefaults() Net {
	if n.Resolve == nil {
		n.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if n.Dial == nil {
		var dialer net.Dialer
		n.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }
	}
	if n.Listen == nil {
		var listen net.ListenConfig
		n.Listen = func(ctx context.Context, addr string) (net.Listener, error) { return listen.Listen(ctx, "tcp", addr) }
	}
	if n.Route == nil {
		n.Route = route
	}
	if n.Local == nil {
		n.Local = interfaceAddrs
	}
	return n
}

// route asks the kernel by connecting a UDP socket, which sends nothing.
func route(to netip.AddrPort) (netip.Addr, error) {
	c, err := net.Dial("udp", to.String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	from, err := netip.ParseAddrPort(c.LocalAddr().String())
	return from.Addr().Unmap(), err
}

func interfaceAddrs() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	var out []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out, err
}
