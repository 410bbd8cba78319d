package grpc

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

// program is a process that runs a gRPC server of its own, with a service of its own, and is a rank
// of a mesh too.
type program struct {
	server *grpc.Server
	addr   string
	end    *Transport
	err    error
}

// runPrograms starts n of them. options are those of each one's server; each may change its
// configuration.
func runPrograms(t testing.TB, n int, options []grpc.ServerOption, change func(c *Config)) []*program {
	return runProgramsOf(t, n, func(int) []grpc.ServerOption { return options }, change)
}

// runProgramsOf is runPrograms with options for each rank.
func runProgramsOf(t testing.TB, n int, options func(r int) []grpc.ServerOption, change func(c *Config)) []*program {
	programs, services, addrs := make([]*program, n), make([]*Service, n), make([]string, n)
	for r := range n {
		cfg := Config{Identity: rendezvous.Identity{Rank: transport.Rank(r), Size: n, Job: t.Name()}, Limits: transport.Limits{JoinTimeout: time.Minute}}
		if change != nil {
			change(&cfg)
		}
		s, err := NewService(cfg)
		require.NoError(t, err)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		p := &program{server: grpc.NewServer(options(r)...), addr: l.Addr().String()}
		s.Register(p.server)
		grpc_health_v1.RegisterHealthServer(p.server, health.NewServer())
		served := make(chan struct{})
		go func() { defer close(served); _ = p.server.Serve(l) }()
		t.Cleanup(func() {
			p.server.Stop()
			<-served
		})
		programs[r], services[r], addrs[r] = p, s, p.addr
	}
	// Nobody tells rank 0, which dials nobody, that another rank has failed: it is stopped once it
	// has refused somebody.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan int, n)
	var wg sync.WaitGroup
	for r, p := range programs {
		wg.Go(func() {
			if p.end, p.err = services[r].Join(ctx, addrs); p.err != nil {
				failed <- r
			}
		})
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case r := <-failed:
		if r > 0 {
			stopWhenRefused(t, services[0], ended, cancel)
		}
	}
	<-ended
	for _, p := range programs {
		if p.err == nil {
			t.Cleanup(func() { _ = p.end.Close() })
		}
	}
	return programs
}

func stopWhenRefused(t testing.TB, s *Service, ended chan struct{}, stop func()) {
	refused := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.refused != nil
	}
	for limit := time.Now().Add(5 * time.Second); time.Now().Before(limit) && !refused(); {
		select {
		case <-ended:
			return
		case <-time.After(time.Millisecond):
		}
	}
	stop()
}

func endsOf(t testing.TB, programs []*program) []transport.Transport {
	ends, errs := make([]transport.Transport, len(programs)), make([]error, len(programs))
	for r, p := range programs {
		ends[r], errs[r] = p.end, p.err
	}
	require.NoError(t, errors.Join(errs...), "rank 0 may only have been told to end")
	return ends
}

// echo has rank 0 send rank 1 a message and get it back.
func echo(t testing.TB, ends []transport.Transport, bytes int) error {
	body, room := make([]byte, bytes), make([]byte, bytes)
	done := make(chan error, 1)
	go func() {
		err := ends[1].Send(t.Context(), 0, 2, body)
		if err == nil {
			_, err = ends[1].Recv(t.Context(), 0, 1, body)
		}
		done <- err
	}()
	_, err := ends[0].Recv(t.Context(), 1, 2, room)
	if err == nil {
		err = ends[0].Send(t.Context(), 1, 1, room)
	}
	if other := <-done; err == nil {
		err = other
	}
	return err
}

// TestServiceConforms has the mesh beside other services on servers with options of their own: one
// stream a connection is what it needs, and interceptors see its streams.
func TestServiceConforms(t *testing.T) {
	options := []grpc.ServerOption{
		grpc.MaxConcurrentStreams(1), grpc.MaxRecvMsgSize(maxReceiveBytes), grpc.MaxSendMsgSize(maxReceiveBytes),
		grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			return handle(srv, s)
		}),
	}
	transporttest.Run(t, func(t *testing.T, n int) []transport.Transport { return endsOf(t, runPrograms(t, n, options, nil)) })
}

func TestServerServesOthersBesideTheMesh(t *testing.T) {
	programs := runPrograms(t, 2, nil, nil)
	ends := endsOf(t, programs)
	c, err := grpc.NewClient(programs[0].addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer c.Close()
	ask := func() {
		answer, err := grpc_health_v1.NewHealthClient(c).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		require.NoError(t, err)
		require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, answer.Status)
	}
	ask()
	require.NoError(t, echo(t, ends, 1<<20))
	for _, e := range ends {
		require.NoError(t, e.Close())
	}
	ask() // the server is the program's, and goes on
}

// TestOptionsInTheWayAreNamed: the rank that dials fails at once, and the one whose server it is
// knows why.
func TestOptionsInTheWayAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		option grpc.ServerOption
		want   string
	}{
		"receive": {grpc.MaxRecvMsgSize(maxReceiveBytes - 1), "grpc.MaxRecvMsgSize"},
		"little":  {grpc.MaxRecvMsgSize(1), "grpc.MaxRecvMsgSize"},
		"send":    {grpc.MaxSendMsgSize(maxReceiveBytes - 1), "grpc.MaxSendMsgSize"},
		"codec":   {grpc.ForceServerCodecV2(encoding.GetCodecV2(proto.Name)), "grpc.ForceServerCodec"},
		"silent":  {grpc.ForceServerCodec(silent{}), "grpc.ForceServerCodec"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			programs := runPrograms(t, 2, []grpc.ServerOption{c.option}, nil)
			require.ErrorContains(t, programs[1].err, c.want)
			require.ErrorContains(t, programs[0].err, c.want)
			require.Equal(t, transport.Rank(0), transport.CulpritOf(programs[1].err))
			require.NotErrorIs(t, programs[1].err, context.DeadlineExceeded)
		})
	}
}

// silent is a codec that takes no message for what it is.
type silent struct{}

func (silent) Name() string                { return "silent" }
func (silent) Marshal(any) ([]byte, error) { return nil, nil }
func (silent) Unmarshal([]byte, any) error { return nil }

// TestGracefulStopWaitsForTheMesh: it lets the mesh go on, and returns when that has closed.
func TestGracefulStopWaitsForTheMesh(t *testing.T) {
	programs := runPrograms(t, 2, nil, nil)
	ends := endsOf(t, programs)
	var stopped sync.WaitGroup
	for _, p := range programs {
		stopped.Go(p.server.GracefulStop)
	}
	require.NoError(t, echo(t, ends, 3<<20))
	var closed sync.WaitGroup
	for _, e := range ends {
		closed.Go(func() { _ = e.Close() })
	}
	closed.Wait()
	stopped.Wait()
}

// TestAgedConnections: an age alone lets the streams of the mesh go on; with a grace it ends them,
// which the error says.
func TestAgedConnections(t *testing.T) {
	const age = 50 * time.Millisecond
	until := func(t *testing.T, ends []transport.Transport, over func(err error) bool) error {
		for {
			if err := echo(t, ends, 10_000); over(err) {
				return err
			}
		}
	}
	t.Run("age", func(t *testing.T) {
		option := grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: age})
		ends, begin := endsOf(t, runPrograms(t, 2, []grpc.ServerOption{option}, nil)), time.Now()
		require.NoError(t, until(t, ends, func(err error) bool { return err != nil || time.Since(begin) > 10*age }))
	})
	t.Run("grace", func(t *testing.T) {
		t.Parallel()
		const enough = 3 * time.Second // to join on a busy machine
		option := grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: enough, MaxConnectionAgeGrace: age})
		ends := endsOf(t, runPrograms(t, 2, []grpc.ServerOption{option}, nil))
		err := until(t, ends, func(err error) bool { return err != nil })
		require.ErrorIs(t, err, transport.ErrPeerDead)
	})
}

// lateStream is a stream whose first message, of all with the same late, does not come.
type lateStream struct {
	grpc.ClientStream
	late *sync.Once
}

func (s lateStream) SendMsg(m any) error {
	on := true
	s.late.Do(func() { on = false })
	if !on {
		return nil
	}
	return s.ClientStream.SendMsg(m)
}

// TestASlowRankTriesAgain: a hello that has not come in time, as on a busy machine, ends one
// attempt to join, and not the joining.
func TestASlowRankTriesAgain(t *testing.T) {
	t.Parallel()
	late := new(sync.Once)
	slow := func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := streamer(ctx, desc, cc, method, opts...)
		return lateStream{s, late}, err
	}
	ends := endsOf(t, runPrograms(t, 2, nil, func(c *Config) {
		c.DialOptions = []grpc.DialOption{grpc.WithStreamInterceptor(slow)}
	}))
	require.NoError(t, echo(t, ends, 1000))
}

// TestKeepaliveIsNotTheMeshs: options that have a client ask a quiet connection for signs of life,
// which a server forbids by default, do no harm.
func TestKeepaliveIsNotTheMeshs(t *testing.T) {
	if testing.Short() {
		t.Skip("gRPC asks every 10 s at most, and is forgiven twice")
	}
	t.Parallel()
	pings := grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, PermitWithoutStream: true})
	ends := endsOf(t, runPrograms(t, 2, nil, func(c *Config) { c.DialOptions = []grpc.DialOption{pings} }))
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	_, err := ends[0].Recv(ctx, 1, 1, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, echo(t, ends, 1000))
}

func TestErrorsOfOptionsAreExplained(t *testing.T) {
	for says, option := range map[string]string{
		`received prior goaway: code: NO_ERROR, debug data: "max_age"`:                   "MaxConnectionAgeGrace",
		`received prior goaway: code: ENHANCE_YOUR_CALM, debug data: "too_many_pings"`:   "EnforcementPolicy",
		"grpc: received message larger than max (262144 vs. 4096)":                       "MaxRecvMsgSize",
		"grpc: failed to unmarshal the received message: message is *grpc.inbound, want": "ForceServerCodec",
	} {
		err := explained(statusError(says))
		require.ErrorIs(t, err, errOption, says)
		require.ErrorContains(t, err, option)
		require.ErrorContains(t, err, says)
	}
	other := statusError("transport is closing")
	require.Equal(t, other, explained(other))
	require.NoError(t, explained(nil))
}
