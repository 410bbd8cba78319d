package grpc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Join meets the other ranks at cfg.Addr, connects to every one of them and returns this rank's end
// of the mesh. It ends at the latest when ctx does or cfg.JoinTimeout passes; its errors are those
// of [rendezvous.Meet] and *transport.Error with the operation "join".
func Join(ctx context.Context, cfg Config) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	if cfg.Size == 1 {
		return newService(cfg, nil).Join(ctx, nil)
	}
	if cfg.Addr == "" {
		return nil, errors.New("grpc: Addr is empty: Join needs host:port of rank 0's rendezvous")
	}
	r := rendezvous.Config{
		Rank: cfg.Rank, Size: cfg.Size, Addr: cfg.Addr, Job: cfg.Job, Host: cfg.Host, Settings: cfg.terms(),
		LocalSize: cfg.LocalSize, Agent: cfg.Agent, Restart: cfg.Restart,
		Timeout: cfg.JoinTimeout, Insecure: cfg.Insecure, Net: cfg.Net, Log: cfg.Log,
	}
	listen, err := cfg.listen(ctx, &r)
	if err != nil {
		return nil, err
	}
	defer listen.Close()
	m, err := rendezvous.Start(ctx, r)
	if err != nil {
		return nil, err
	}
	s := newService(cfg, m.Session[:])
	s.serve(listen)
	return s.complete(m.Finish(s.build(m.Context(), m.Addrs)))
}

// serve makes s the service of a server of its own. The listener is closed when the mesh is
// complete, the server when it ends.
func (s *Service) serve(l net.Listener) {
	g := newGuard(l)
	s.admit = g.admit
	server := grpc.NewServer(append(s.cfg.serverOptions(), s.cfg.ServerOptions...)...)
	s.Register(server)
	if s.cfg.Health {
		grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	}
	s.t.server = server
	s.t.wg.Go(func() { _ = server.Serve(g) }) // what ends it is that the listener closes
	s.t.wg.Go(func() {
		<-s.over
		_ = g.Close()
	})
}

func (c *Config) serverOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.ConnectionTimeout(helloTimeout),
		grpc.StaticStreamWindowSize(windowBytes),
		grpc.StaticConnWindowSize(windowBytes),
		grpc.WriteBufferSize(writeBufferBytes),
		grpc.ReadBufferSize(readBufferBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxRecvMsgSize(maxReceiveBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPings, PermitWithoutStream: true}),
	}
	if c.Credentials != nil {
		options = append(options, grpc.Creds(c.Credentials))
	}
	return options
}

const (
	// maxReceiveBytes bounds a message of either stream.
	maxReceiveBytes = max(chunkBytes, maxControlBytes)
	// maxStreams bounds the streams of one connection to Join's server: one is used, health checks
	// have the others.
	maxStreams = 4
	// leastPings is how often a connection to Join's server may ask for signs of life: gRPC's
	// clients do every 10 s at most.
	leastPings = 5 * time.Second
)

// Join connects to the peers and returns this rank's end of the mesh, once all ranks have joined.
// addrs says where the servers of the other ranks are, by rank, as host:port or whatever a dialler
// among cfg.DialOptions understands; those of this rank and of those above are not used, since the
// higher rank of a pair dials. A Service joins once.
//
// It ends at the latest when ctx does or cfg.JoinTimeout passes. A rank of another job is refused
// and does no harm; one of this job that disagrees about its size, settings or epoch is refused
// too, and both ends return an error under [transport.ErrMismatch] that names what differs and both
// values.
func (s *Service) Join(ctx context.Context, addrs []string) (*Transport, error) {
	first := false
	s.joinOnce.Do(func() { first = true })
	if !first {
		return nil, errors.New("grpc: Join called twice on one Service")
	}
	err := s.cfg.checkAddrs(addrs)
	if err == nil && s.cfg.Size > 1 {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.JoinTimeout)
		defer cancel()
		err = s.build(ctx, addrs)
	}
	return s.complete(err)
}

// complete begins the work of a mesh that has been built, or frees what there is of it.
func (s *Service) complete(err error) (*Transport, error) {
	s.overOnce.Do(func() { close(s.over) })
	if err != nil {
		s.t.mesh.Abandon()
		s.t.release()
		return nil, err
	}
	s.t.mesh.Start(false)
	return s.t, nil
}

// checkAddrs reports whether the peers that this rank dials are given, and may be dialled.
func (c *Config) checkAddrs(addrs []string) error {
	if len(addrs) < int(c.Rank) {
		return c.joinError(fmt.Errorf("%d addresses, want those of the %d ranks below", len(addrs), c.Rank))
	}
	for _, addr := range addrs[:c.Rank] {
		if c.Credentials != nil {
			continue
		}
		if err := rendezvous.CheckBind(addr, c.Insecure); err != nil && !c.Insecure {
			return c.joinError(err)
		}
	}
	return nil
}

// digest is what all ranks must share, in short.
func (c *Config) digest() [sha256.Size]byte { return rendezvous.Digest(c.Job, c.terms()) }

// terms are the settings that all ranks must share: the user's and those of the wire.
func (c *Config) terms() map[string]string {
	terms := maps.Clone(c.Settings)
	if terms == nil {
		terms = make(map[string]string)
	}
	terms["grpc.epoch"] = strconv.FormatUint(uint64(c.Epoch), 10)
	terms["grpc.payload_sums"] = strconv.FormatBool(!c.NoPayloadSums)
	return terms
}

// listen opens this rank's mesh listener: on exactly one address, with a port of the system's
// choice. The time that it takes to find the address is taken from r's.
func (c *Config) listen(ctx context.Context, r *rendezvous.Config) (net.Listener, error) {
	begin := time.Now()
	host, err := rendezvous.LocalHost(ctx, *r)
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort(host, "0")
	if err := rendezvous.CheckBind(addr, c.Insecure || c.Credentials != nil); err != nil {
		return nil, c.joinError(err)
	}
	l, err := c.Net.WithDefaults().Listen(ctx, addr)
	if err != nil {
		return nil, c.joinError(err)
	}
	r.Timeout = max(r.Timeout-time.Since(begin), time.Millisecond)
	r.Listen = l.Addr().String()
	return l, nil
}

func (c *Config) joinError(err error) error {
	return &transport.Error{Rank: c.Rank, Op: "join", Err: err}
}
