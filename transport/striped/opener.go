package striped

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// Opener opens this transport under the name "striped", over several links of another one, for
// programs that choose transports by name. All ranks must have the same.
type Opener struct {
	// Links is the number of links, at most 64; 0 means 2.
	Links int
	// Over opens each link; nil is TCP.
	Over rendezvous.Opener
	// Config is that of [New]. Its Limits and Log must not be set: they are those of the Opening.
	Config Config
}

var _ rendezvous.Opener = Opener{}

// Name is "striped".
func (Opener) Name() string { return "striped" }

// Open opens the first link as its kind is opened, learns over it from rank 0 at which ports of the
// same host that waits for the other links, opens these, and combines all. The links have the
// limits of o, and so has the transport, but for DeadAfter, by which the links find the dead.
func (p Opener) Open(ctx context.Context, o rendezvous.Opening) (transport.Transport, error) {
	p, err := p.complete(o)
	if err != nil {
		return nil, err
	}
	links, err := p.openLinks(ctx, o)
	if err != nil {
		for _, t := range links {
			if t != nil {
				_ = t.Close() // the error that led here says more
			}
		}
		return nil, err
	}
	t, err := New(ctx, links, p.Config)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// complete returns p with its defaults and the terms of o, or what is wrong with it.
func (p Opener) complete(o rendezvous.Opening) (Opener, error) {
	if p.Config.Limits != (transport.Limits{}) || p.Config.Log != nil {
		return p, errors.New("striped: Limits or Log of Opener.Config is set: they are those of the Opening")
	}
	if p.Links == 0 {
		p.Links = 2
	}
	if p.Over == nil {
		p.Over = tcp.Opener{}
	}
	if _, own := p.Over.(rendezvous.SelfPlaced); own {
		return p, fmt.Errorf("striped: Opener.Over is %s, whose ranks meet by themselves, and so once", p.Over.Name())
	}
	if p.Links < 1 || p.Links > maxLinks {
		return p, fmt.Errorf("striped: Opener.Links is %d, want 1 to %d", p.Links, maxLinks)
	}
	p.Config.Limits = o.Limits
	p.Config.DeadAfter, p.Config.Heartbeat = 0, 0
	p.Config.Log = o.Log
	return p, p.Config.Validate()
}

// openLinks opens all links; those that are open are returned with the error too.
func (p Opener) openLinks(ctx context.Context, o rendezvous.Opening) (links []transport.Transport, err error) {
	links = make([]transport.Transport, p.Links)
	o.Settings = p.settings(o.Settings)
	if links[0], err = p.Over.Open(ctx, o); err != nil {
		return links, err
	}
	addrs, err := agreeOnAddresses(ctx, links[0], o.Addr, p.Links-1)
	if err != nil {
		return links, err
	}
	o.Net.Listen = nil // which may be for o.Addr
	errs := make([]error, p.Links)
	var all sync.WaitGroup
	for i, addr := range addrs {
		all.Go(func() { links[i+1], errs[i+1] = p.openMore(ctx, o, i+1, addr) })
	}
	all.Wait()
	return links, errors.Join(errs...)
}

// openMore opens a link after the first.
func (p Opener) openMore(ctx context.Context, o rendezvous.Opening, number int, addr string) (transport.Transport, error) {
	o.Addr, o.Job = addr, fmt.Sprintf("%s link %d", o.Job, number)
	t, err := p.Over.Open(ctx, o)
	if err != nil {
		return nil, errtext.Errorf("striped: link %d of %d: %w", number, p.Links, err)
	}
	return t, nil
}

// settings are what ranks compare as they meet: the program's, and how many links there are of
// what.
func (p Opener) settings(program map[string]string) map[string]string {
	settings := map[string]string{"striped.links": fmt.Sprint(p.Links), "striped.over": p.Over.Name()}
	maps.Copy(settings, program)
	return settings
}

// agreeOnAddresses has rank 0 tell the others at which n addresses, beside the one where they have
// met, it will wait.
func agreeOnAddresses(ctx context.Context, met transport.Transport, addr string, n int) ([]string, error) {
	const limit = maxLinks * 300 // bytes: a name has 255, and a port 5
	if n == 0 || met.Size() == 1 {
		return make([]string, n), nil
	}
	if met.Rank() != 0 {
		text := make([]byte, limit)
		length, err := met.Recv(ctx, 0, addressTag, text)
		if err != nil {
			return nil, err
		}
		return parseAddresses(text[:length], n)
	}
	addrs, err := freeAddresses(addr, n)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(addrs)
	for r := 1; r < met.Size() && err == nil; r++ {
		err = met.Send(ctx, transport.Rank(r), addressTag, text)
	}
	return addrs, err
}

// parseAddresses reads what rank 0 has sent: n addresses.
func parseAddresses(text []byte, n int) (addrs []string, err error) {
	if err := json.Unmarshal(text, &addrs); err != nil {
		return nil, &transport.Error{Rank: 0, Op: "join", Err: fmt.Errorf("addresses of links: %w: %w", transport.ErrProtocol, err)}
	}
	if len(addrs) != n {
		return nil, &transport.Error{Rank: 0, Op: "join", Err: fmt.Errorf("%d addresses of links, want %d: %w", len(addrs), n, transport.ErrProtocol)}
	}
	return addrs, nil
}

// freeAddresses returns addresses of the same host as addr at which nobody listens.
func freeAddresses(addr string, n int) ([]string, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, errtext.Errorf("striped: an address for a link: %w", err)
		}
		defer l.Close() // when all are found, so that they differ
		_, port, _ := net.SplitHostPort(l.Addr().String())
		addrs = append(addrs, net.JoinHostPort(host, port))
	}
	return addrs, nil
}
