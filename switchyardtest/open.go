package switchyardtest

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/opening"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// opened is how one rank of this process is connected to the others.
type opened struct {
	rank    int
	connect func(ctx context.Context) (*switchyard.World, error)
}

// openAll returns n ranks of this process.
func (c Config) openAll(n int) ([]opened, error) {
	if c.Transport != "" {
		return c.openByName(n)
	}
	return c.openInProcess(n), nil
}

// openInProcess returns n ranks that share the memory of this process.
func (c Config) openInProcess(n int) []opened {
	list := make([]opened, n)
	for r, end := range inproc.New(n) {
		list[r] = opened{r, func(context.Context) (*switchyard.World, error) { return switchyard.NewWorld(c.wrap(end)), nil }}
	}
	return list
}

// openByName returns n ranks of this process over the transport that c names. The port where they
// meet is rank 0's from now on, so that nobody else takes it.
func (c Config) openByName(n int) ([]opened, error) {
	port, err := listen()
	if err != nil {
		return nil, err
	}
	list := make([]opened, n)
	for r := range list {
		p := place{rank: r, size: n, addr: port.Addr().String()}
		if r == 0 {
			p.port = port
		}
		list[r] = c.joining(p)
	}
	return list, nil
}

// place says which rank joins, and where the ranks meet.
type place struct {
	rank, size int
	addr       string
	port       net.Listener // rank 0's, or nil
}

// joining returns a rank that joins over the transport that c names.
func (c Config) joining(p place) opened {
	return opened{p.rank, func(ctx context.Context) (*switchyard.World, error) {
		if p.port != nil {
			defer p.port.Close() // also if nobody has listened
		}
		opener, err := c.opener()
		if err != nil {
			return nil, err
		}
		t, err := opening.Open(ctx, opener, rendezvous.Opening{
			Identity:  rendezvous.Identity{Rank: transport.Rank(p.rank), Size: p.size, Addr: p.addr, Job: "switchyardtest " + p.addr},
			LocalSize: p.size, Net: p.net(),
		})
		if err != nil {
			return nil, err
		}
		return switchyard.NewWorld(c.wrap(t)), nil
	}}
}

// opener is that of the transport that c names.
func (c Config) opener() (rendezvous.Opener, error) {
	o, err := opening.Choose(opening.Request{Name: c.Transport, From: "Config.Transport", Program: c.Transports})
	if err != nil {
		return nil, err
	}
	if _, own := o.(rendezvous.SelfPlaced); own {
		return nil, fmt.Errorf("Config.Transport is %q, whose ranks need a launcher of their own", c.Transport)
	}
	return o, nil
}

// net hands rank 0 the port that it has, instead of opening it once more.
func (p place) net() rendezvous.Net {
	n := rendezvous.Net{}.WithDefaults()
	if p.port == nil {
		return n
	}
	system, used := n.Listen, new(atomic.Bool)
	n.Listen = func(ctx context.Context, addr string) (net.Listener, error) {
		if addr == p.addr && !used.Swap(true) {
			return p.port, nil
		}
		return system(ctx, addr)
	}
	return n
}

// listen opens a port on loopback.
func listen() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return net.Listen("tcp", "[::1]:0")
	}
	return l, nil
}

func (c Config) wrap(t transport.Transport) transport.Transport {
	if c.Wrap == nil {
		return t
	}
	return c.Wrap(t)
}

// Worlds returns the worlds of n ranks that share the memory of this process, for tests that drive
// them by hand. They are closed at the end of the test.
func Worlds(t testing.TB, n int) []*switchyard.World {
	t.Helper()
	if n < 1 {
		t.Fatalf("switchyardtest: Worlds of %d ranks, want at least 1", n)
	}
	worlds := make([]*switchyard.World, n)
	for r, end := range inproc.New(n) {
		worlds[r] = switchyard.NewWorld(end)
	}
	t.Cleanup(func() { closeAll(worlds) })
	return worlds
}
