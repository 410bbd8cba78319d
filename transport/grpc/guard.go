package grpc

import (
	"net"
	"sync"
	"time"
)

const (
	// helloPatience is how long a connection may take to say who it is.
	helloPatience = 2 * time.Second
	// maxStrangers bounds the connections, and on each server the streams, that have not yet said
	// who they are. Further connections wait in the kernel's backlog.
	maxStrangers = 64
)

// guard is the listener of Join: it keeps strangers few and short.
type guard struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once

	mu        sync.Mutex
	strangers map[string]*guarded // by their address
}

// guarded is a connection that has been accepted. It has a slot while it is a stranger.
type guarded struct {
	*net.TCPConn // and not just a net.Conn: gRPC reads one without holding a buffer while it waits
	guard        *guard
	timer        *time.Timer
	once         sync.Once
}

func newGuard(l net.Listener) *guard {
	return &guard{
		Listener: l, slots: make(chan struct{}, maxStrangers),
		closed: make(chan struct{}), strangers: make(map[string]*guarded),
	}
}

// Accept waits until there is room for a stranger and returns the next one.
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
	g.strangers[c.RemoteAddr().String()] = s
	s.timer = time.AfterFunc(helloPatience, func() { _ = s.Close() })
	return s, nil
}

// admit makes the connection from addr no stranger any more.
func (g *guard) admit(addr net.Addr) {
	g.mu.Lock()
	s := g.strangers[addr.String()]
	g.mu.Unlock()
	if s != nil {
		s.leave()
	}
}

// Close ends the listening, and the connections of all strangers.
func (g *guard) Close() error {
	g.once.Do(func() { close(g.closed) })
	err := g.Listener.Close()
	g.mu.Lock()
	strangers := g.strangers
	g.strangers = make(map[string]*guarded)
	g.mu.Unlock()
	for _, s := range strangers {
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
		delete(s.guard.strangers, s.RemoteAddr().String())
		s.guard.mu.Unlock()
		<-s.guard.slots
	})
}
