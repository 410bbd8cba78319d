package grpc

import (
	"net"
	"sync"
	"time"
)

const (
	// helloTimeout is how long a connection may take to say who it is.
	helloTimeout = 2 * time.Second
	// maxPending bounds the connections, and on each server the streams, that have not yet said
	// who they are. Further connections wait in the kernel's backlog.
	maxPending = 64
)

// guard is the listener of Join: it bounds the number and the time of pending connections, those
// whose peer is not known yet.
type guard struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	pending map[string]*guarded // by their address
}

// guarded is a connection that has been accepted. It has a slot while it is pending.
type guarded struct {
	*net.TCPConn // and not just a net.Conn: gRPC reads one without holding a buffer while it waits
	guard        *guard
	timer        *time.Timer
	once         sync.Once
}

func newGuard(l net.Listener) *guard {
	return &guard{
		Listener: l, slots: make(chan struct{}, maxPending),
		closed: make(chan struct{}), pending: make(map[string]*guarded),
	}
}

// Accept waits until there is room for a pending connection and returns the next one.
func (g *guard) Accept() (net.Conn, error) {
	select {
	case g.slots <- struct{}{}:
	case <-g.closed:
		return nil, net.ErrClosed
	}
	c, err := g.Listener.Accept()
	if err != nil {
		<-g.slots
		return nil, err
	}
	s := &guarded{TCPConn: c.(*net.TCPConn), guard: g}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending[c.RemoteAddr().String()] = s
	s.timer = time.AfterFunc(helloTimeout, func() { _ = s.Close() })
	return s, nil
}

// admit ends the pending state of the connection from addr: its peer is known.
func (g *guard) admit(addr net.Addr) {
	g.mu.Lock()
	s := g.pending[addr.String()]
	g.mu.Unlock()
	if s != nil {
		s.leave()
	}
}

// Close ends the listening, and all pending connections.
func (g *guard) Close() error {
	g.once.Do(func() { close(g.closed) })
	err := g.Listener.Close()
	g.mu.Lock()
	pending := g.pending
	g.pending = make(map[string]*guarded)
	g.mu.Unlock()
	for _, s := range pending {
		_ = s.Close()
	}
	return err
}

// Close ends the connection.
func (s *guarded) Close() error {
	s.leave()
	return s.TCPConn.Close()
}

// leave gives the slot back.
func (s *guarded) leave() {
	s.once.Do(func() {
		s.guard.mu.Lock()
		s.timer.Stop()
		delete(s.guard.pending, s.RemoteAddr().String())
		s.guard.mu.Unlock()
		<-s.guard.slots
	})
}
