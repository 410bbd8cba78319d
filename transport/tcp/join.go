package tcp

import (
	"context"
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// Join meets the other ranks at cfg.Addr, connects to every one of them and returns this rank's end of the
// mesh, once all ranks have done so. It ends when ctx does or cfg.JoinTimeout passes, here or on another rank. Its errors
// are those of [rendezvous.Start] and *transport.Error with the operation "join".
func Join(ctx context.Context, cfg Config) (*Transport, error) { return JoinNear(ctx, cfg, nil) }

// JoinNear is Join for ranks some of which are reached by near instead, which may be nil.
func JoinNear(ctx context.Context, cfg Config, near Near) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	t := newTransport(cfg)
	t.near = near
	if cfg.Size > 1 {
		if err := t.connect(ctx); err != nil {
			t.Abandon()
			return nil, err
		}
	}
	t.cfg.Security = secure.Config{} // no secret is kept longer than it serves
	t.Start(true)
	return t, nil
}

// connect listens, learns where the others listen, and builds the mesh.
func (t *Transport) connect(ctx context.Context) error {
	guard, err := secure.NewGuard(t.cfg.Security, t.cfg.Job, t.cfg.Rank, t.cfg.Log)
	if err != nil {
		return t.joinError(err)
	}
	r := rendezvous.Config{
		Rank: t.cfg.Rank, Size: t.cfg.Size, Addr: t.cfg.Addr, Job: t.cfg.Job, Host: t.cfg.Host,
		LocalSize: t.cfg.LocalSize, Agent: t.cfg.Agent, Restart: t.cfg.Restart, Settings: t.terms(),
		Timeout: t.cfg.JoinTimeout, Security: t.cfg.Security, Insecure: t.cfg.Insecure, Net: t.cfg.Net, Log: t.cfg.Log,
	}
	listen, err := t.listen(ctx, &r)
	if err != nil {
		return err
	}
	b := t.newBuilder(ctx, guard, listen)
	defer b.end()
	m, err := rendezvous.Start(ctx, r)
	if err != nil {
		return err
	}
	return m.Finish(b.build(m.Context(), m.Addrs, hello{
		size: uint32(t.cfg.Size), from: t.cfg.Rank, epoch: t.cfg.Epoch,
		session: m.Session, terms: rendezvous.Digest(t.cfg.Job, r.Settings),
	}))
}

// terms are the settings that all ranks must share: the user's and those of the wire.
func (t *Transport) terms() map[string]string {
	terms := maps.Clone(t.cfg.Settings)
	if terms == nil {
		terms = make(map[string]string)
	}
	terms["tcp.epoch"] = strconv.FormatUint(uint64(t.cfg.Epoch), 10)
	terms["tcp.payload_sums"] = strconv.FormatBool(!t.cfg.NoPayloadSums)
	return terms
}

// listen opens this rank's mesh listener: on exactly one address, with a port of the system's choice. The time that it
// takes to find the address is taken from r's.
func (t *Transport) listen(ctx context.Context, r *rendezvous.Config) (net.Listener, error) {
	begin := time.Now()
	host, err := rendezvous.LocalHost(ctx, *r)
	if err != nil {
		return nil, err
	}
	l, err := t.net.Listen(ctx, net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, t.joinError(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		_ = l.Close()
		return nil, t.joinError(err)
	}
	t.own = net.JoinHostPort(host, port) // which has a zone where the listener's own address has lost it
	r.Timeout = max(r.Timeout-time.Since(begin), time.Millisecond)
	r.Listen = t.publish(t.own)
	return l, nil
}

func (t *Transport) joinError(err error) error {
	return &transport.Error{Rank: t.cfg.Rank, Op: "join", Err: err}
}
