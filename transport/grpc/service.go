package grpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/controlpb"
)

// Service is this rank's side of a mesh on a grpc.Server that the program runs: register it, serve,
// and join.
//
// The server needs nothing special, but windows of 512 KiB (grpc.StaticStreamWindowSize,
// grpc.StaticConnWindowSize) and wide buffers (grpc.ReadBufferSize, grpc.WriteBufferSize) make it
// several times as fast. The program's own interceptors see the two streams of each peer; they must
// not read from them.
//
// What the server must allow: messages of 256 KiB both ways (grpc.MaxRecvMsgSize,
// grpc.MaxSendMsgSize; the defaults do), one stream a connection (grpc.MaxConcurrentStreams), and
// the codec that the content type names, so that none is forced. A server that does not is found
// when ranks join, by an error that names the option. A keepalive.ServerParameters with
// MaxConnectionAgeGrace ends the streams of the mesh, and with them the job; MaxConnectionAge alone
// lets them go on, and MaxConnectionIdle does not count a connection of the mesh. GracefulStop
// returns once the mesh has been closed; Stop ends the mesh.
type Service struct {
	cfg   Config
	hello *controlpb.Hello // what this rank says, without kind and receiver
	t     *Transport
	admit func(net.Addr) // called with the address of a connection whose peer is known

	pending chan struct{}
	opened  chan opened

	joining  chan struct{} // closed when Join begins
	joinOnce sync.Once
	over     chan struct{} // closed when no stream is wanted any more
	overOnce sync.Once

	mu      sync.Mutex
	claimed map[claim]bool
	refused error                    // the latest stream that came to nothing
	failed  map[transport.Rank]error // why a peer that this rank dials could not be reached
}

// claim is the stream that a hello claims.
type claim struct {
	from uint32
	kind controlpb.StreamKind
}

// opened is a stream whose hellos have been exchanged.
type opened struct {
	peer   transport.Rank
	kind   controlpb.StreamKind
	stream *stream
	err    error // why there will be no mesh
}

// NewService returns a rank that has not joined yet, or what is wrong with cfg.
func NewService(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return newService(cfg.WithDefaults(), nil), nil
}

// newService returns the service of a rank that has met the others under session, if they have met.
func newService(cfg Config, session []byte) *Service {
	digest := cfg.digest()
	return &Service{
		cfg: cfg, t: newTransport(cfg), admit: func(net.Addr) {},
		hello: &controlpb.Hello{
			Job: cfg.Job, Size: uint32(cfg.Size), From: uint32(cfg.Rank),
			Epoch: cfg.Epoch, Session: session, Digest: digest[:],
		},
		pending: make(chan struct{}, maxPending), opened: make(chan opened),
		joining: make(chan struct{}), over: make(chan struct{}), claimed: make(map[claim]bool), failed: make(map[transport.Rank]error),
	}
}

// Register adds the service to a server that does not serve yet.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*any)(nil),
		Metadata:    "transport/internal/controlpb/control.proto",
		Streams: []grpc.StreamDesc{
			{StreamName: dataMethod, ServerStreams: true, ClientStreams: true, Handler: s.handler(dataStream)},
			{StreamName: controlMethod, ServerStreams: true, ClientStreams: true, Handler: s.handler(controlStream)},
		},
	}, s)
}

// handler serves one stream for as long as it is open.
func (s *Service) handler(kind controlpb.StreamKind) grpc.StreamHandler {
	return func(_ any, ss grpc.ServerStream) error {
		done := make(chan struct{})
		st := &stream{messages: ss, end: sync.OnceFunc(func() { close(done) })}
		if err := s.open(st, kind); err != nil {
			s.cfg.Log.Info("stream dropped", "rank", s.cfg.Rank, "from", addrOf(ss.Context()), "err", err)
			return stateOf(err)
		}
		select {
		case <-done:
		case <-ss.Context().Done():
		}
		return nil
	}
}

// open takes the stream's hello, and answers it when there is a mesh to be part of.
func (s *Service) open(st *stream, kind controlpb.StreamKind) error {
	select {
	case s.pending <- struct{}{}:
	default:
		return errCrowded
	}
	theirs, err := s.greeted(st, kind)
	<-s.pending
	if err != nil {
		s.refuse(st, kind, theirs, err)
		return err
	}
	s.admit(addrOf(st.Context()))
	if err := s.answer(st, kind, theirs); err != nil {
		s.disclaim(theirs)
		return err
	}
	return nil
}

var errCrowded = fmt.Errorf("more than %d streams that have not said who they are", maxPending)

// errLate: the stream says nothing. A rank that is slow tries again.
var errLate = fmt.Errorf("no hello within %v: %w", helloTimeout, transport.ErrProtocol)

// greeted receives a hello, checks it and claims the stream for it.
func (s *Service) greeted(st *stream, kind controlpb.StreamKind) (*controlpb.Hello, error) {
	theirs := &controlpb.Hello{}
	got := make(chan error, 1)
	go func() { got <- st.greeted(theirs, kind) }() // it ends with the handler
	timer := time.NewTimer(helloTimeout)
	defer timer.Stop()
	select {
	case err := <-got:
		if err != nil {
			return nil, err
		}
	case <-timer.C:
		return nil, errLate
	}
	if err := s.cfg.trusts(st.Context(), transport.Rank(theirs.From)); err != nil {
		return nil, err
	}
	if err := checkHello(s.hello, theirs, kind); err != nil {
		return theirs, err
	}
	if theirs.From < s.hello.From || !s.claim(theirs) {
		return nil, fmt.Errorf("rank %d has its %v already: %w", theirs.From, theirs.Kind, transport.ErrDuplicateRank)
	}
	return theirs, nil
}

// refuse tells the peer why it cannot join, unless it may if it comes again. theirs is its hello if
// it is one of a rank that differs.
func (s *Service) refuse(st *stream, kind controlpb.StreamKind, theirs *controlpb.Hello, err error) {
	s.note(err) // before the peer, which is told so, may leave
	if errors.Is(err, errLate) {
		return
	}
	_ = st.greet(&controlpb.Answer{Hello: helloAbout(s.hello, kind, 0), Refusal: refusalOf(err)}, kind)
	if theirs == nil || theirs.Job != s.hello.Job || len(s.hello.Session) > 0 || theirs.From >= s.hello.Size {
		return
	}
	// A rank of this job that differs: without a rendezvous, this rank has to report it.
	go s.deliver(st.Context(), opened{err: &transport.Error{Rank: transport.Rank(theirs.From), Op: "join", Err: err}})
}

// note remembers the latest stream that came to nothing, for when ranks are missing in the end.
// What its peer gave up, as one does that has found out by itself, says less than what this rank
// has found.
func (s *Service) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil || !errors.Is(s.refused, errOption) && status.Code(err) != codes.Canceled {
		s.refused = err
	}
}

// answer opens the stream once this rank joins, and delivers it.
func (s *Service) answer(st *stream, kind controlpb.StreamKind, theirs *controlpb.Hello) error {
	select {
	case <-s.joining:
	case <-s.over:
	case <-st.Context().Done():
		return context.Cause(st.Context())
	}
	select {
	case <-s.over:
		err := fmt.Errorf("no mesh to join: %w", transport.ErrPeerClosed)
		_ = st.greet(&controlpb.Answer{Hello: helloAbout(s.hello, kind, 0), Refusal: refusalOf(err)}, kind)
		return err
	default:
	}
	if err := st.greet(&controlpb.Answer{Hello: helloAbout(s.hello, kind, transport.Rank(theirs.From))}, kind); err != nil {
		s.note(err)
		return err
	}
	if !s.deliver(st.Context(), opened{peer: transport.Rank(theirs.From), kind: kind, stream: st}) {
		return errors.New("the mesh is given up")
	}
	return nil
}

// deliver hands a stream to Join, if it still wants one.
func (s *Service) deliver(ctx context.Context, o opened) bool {
	select {
	case s.opened <- o:
		return true
	case <-s.over:
	case <-ctx.Done():
	}
	return false
}

// claim reserves the stream for this stream.
func (s *Service) claim(h *controlpb.Hello) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := claim{h.From, h.Kind}
	if s.claimed[c] {
		return false
	}
	s.claimed[c] = true
	return true
}

func (s *Service) disclaim(h *controlpb.Hello) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.claimed, claim{h.From, h.Kind})
}

// addrOf is where the stream of ctx comes from.
func addrOf(ctx context.Context) net.Addr {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr
	}
	return streamAddr{}
}

// trusts reports whether the connection of ctx may speak for rank. It goes by what the connection's
// credentials have proved, and, where they prove nothing, by whether it is one of this machine.
func (c *Config) trusts(ctx context.Context, rank transport.Rank) error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return fmt.Errorf("connection without a peer: %w", errIdentity)
	}
	secure := p.AuthInfo != nil && credentials.CheckSecurityLevel(p.AuthInfo, credentials.PrivacyAndIntegrity) == nil
	if !secure && !c.Insecure && !isLocal(p.Addr) {
		return fmt.Errorf("connection with %v is neither encrypted nor authenticated; set Insecure to allow it: %w", p.Addr, errIdentity)
	}
	if c.Authorize == nil {
		return nil
	}
	if err := c.Authorize(p.AuthInfo, rank); err != nil {
		return fmt.Errorf("as rank %d: %w: %w", rank, errIdentity, err)
	}
	return nil
}

func isLocal(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback() || a.Network() == "unix"
}
