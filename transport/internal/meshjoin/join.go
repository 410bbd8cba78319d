package meshjoin

import (
	"context"
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/identity"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// joiner is one rank while it joins.
type joiner struct {
	cfg  Config
	fast FastPath       // or nil
	net  rendezvous.Net // cfg's, with its defaults
	own  string         // the address of this rank's listener
	mesh *mesh.Mesh
}

// newJoiner returns a rank without streams; cfg is valid and has its defaults.
func newJoiner(cfg Config, fast FastPath) *joiner {
	return &joiner{cfg: cfg, fast: fast, net: cfg.Net.WithDefaults(), mesh: mesh.New(cfg.mesh())}
}

// Join meets the other ranks at cfg.Addr, connects to every one of them and returns this rank's end
// of the mesh, once all ranks have done so. Some peers are reached by fast instead of TCP, unless
// it is nil. cfg is valid and has its defaults; nothing of the result refers to its secrets. Errors
// are those of [rendezvous.Start] and *transport.Error with the operation "join".
func Join(ctx context.Context, cfg Config, fast FastPath) (*mesh.Mesh, error) {
	j := newJoiner(cfg, fast)
	if cfg.Size > 1 {
		if err := j.connect(ctx); err != nil {
			j.mesh.Abandon()
			return nil, err
		}
	}
	j.mesh.Start(true)
	return j.mesh, nil
}

// connect listens, learns where the others listen, and builds the mesh.
func (j *joiner) connect(ctx context.Context) error {
	guard, err := secure.NewGuard(j.cfg.Security, j.cfg.Job, j.cfg.Rank, j.cfg.Log)
	if err != nil {
		return j.joinError(err)
	}
	r := j.cfg.rendezvous()
	r.Settings = j.terms()
	listen, err := j.listen(ctx, &r)
	if err != nil {
		return err
	}
	b := j.newBuilder(ctx, guard, listen)
	defer b.end()
	m, err := rendezvous.Start(ctx, r)
	if err != nil {
		return err
	}
	return m.Finish(b.build(m.Context(), m.Addrs, hello{Block: identity.Block{
		Size: uint32(j.cfg.Size), From: j.cfg.Rank, Epoch: j.cfg.Epoch,
		Session: m.Session, Terms: rendezvous.Digest(j.cfg.Job, r.Settings),
	}}))
}

// terms are the settings that all ranks must share: the user's and those of the wire.
func (j *joiner) terms() map[string]string {
	terms := maps.Clone(j.cfg.Settings)
	if terms == nil {
		terms = make(map[string]string)
	}
	terms["tcp.epoch"] = strconv.FormatUint(uint64(j.cfg.Epoch), 10)
	terms["tcp.payload_sums"] = strconv.FormatBool(!j.cfg.NoPayloadSums)
	return terms
}

// listen opens this rank's mesh listener: on exactly one address, with a port of the system's
// choice. The time that it takes to find the address is taken from r's.
func (j *joiner) listen(ctx context.Context, r *rendezvous.Config) (net.Listener, error) {
	begin := time.Now()
	host, err := rendezvous.LocalHost(ctx, *r)
	if err != nil {
		return nil, err
	}
	l, err := j.net.Listen(ctx, net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, j.joinError(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		_ = l.Close()
		return nil, j.joinError(err)
	}
	j.own = net.JoinHostPort(host, port) // with the zone, which the listener's address may have lost
	r.Timeout = max(r.Timeout-time.Since(begin), time.Millisecond)
	r.Listen = j.publish(j.own)
	return l, nil
}

func (j *joiner) joinError(err error) error {
	return &transport.Error{Rank: j.cfg.Rank, Op: "join", Err: err}
}
