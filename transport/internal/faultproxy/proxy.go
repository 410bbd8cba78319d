// Package faultproxy is a TCP proxy for tests that does to connections what networks do to them:
// delays, pauses, partitions in one direction or both, damage, resets. Its verbs are those of
// etcd's proxy; each acts on connections that exist and on those to come, from the next byte on.
//
// Tx is what flows from those who dial the proxy to its target, Rx what flows back.
package faultproxy

import (
	"net"
	"sync"
	"sync/atomic"
)

// Proxy stands in front of one target. Its methods may be called by any number of goroutines.
type Proxy struct {
	// Tx and Rx are the two directions, over all connections.
	Tx, Rx *Flow

	target   string
	addr     string
	accepted atomic.Int64
	accept   gate
	closing  chan struct{} // closed by Close
	close    sync.Once
	wg       sync.WaitGroup

	mu     sync.Mutex
	listen net.Listener // nil while connections are refused
	links  map[*link]struct{}
}

// Listen starts a proxy for target, which need not listen yet, on a loopback port of the system's
// choice. Seed determines the random part of delays.
func Listen(target string, seed uint64) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, addr: l.Addr().String(), closing: make(chan struct{}), links: make(map[*link]struct{}),
		Tx: newFlow(seed), Rx: newFlow(seed + 1)}
	p.serve(l)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.addr }

// Accepted is how many connections have been accepted so far.
func (p *Proxy) Accepted() int { return int(p.accepted.Load()) }

// Open is how many connections there are now.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// PauseAccept leaves new connections in the backlog: they are open for those who dial, but nothing
// is read of them and the target does not hear of them.
func (p *Proxy) PauseAccept() { p.accept.set(true) }

// ResumeAccept ends PauseAccept.
func (p *Proxy) ResumeAccept() { p.accept.set(false) }

// ResetConnections ends all connections with a reset on both sides. New ones are accepted.
func (p *Proxy) ResetConnections() {
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		l.reset()
	}
}

// ResetListener ends all connections with a reset on both sides and refuses new ones, as a machine
// does on which the target's process has died, until [Proxy.Restore].
func (p *Proxy) ResetListener() {
	p.refuse()
	p.ResetConnections()
}

// Restore has the proxy listen again, at the same address, after [Proxy.ResetListener].
func (p *Proxy) Restore() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listen != nil || closed(p.closing) {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return err
	}
	p.serveLocked(l)
	return nil
}

// Close resets all connections and ends the proxy.
func (p *Proxy) Close() {
	p.close.Do(func() { close(p.closing) })
	p.ResetListener()
	p.wg.Wait()
}

func (p *Proxy) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listen != nil {
		_ = p.listen.Close()
		p.listen = nil
	}
}

func (p *Proxy) serve(l net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serveLocked(l)
}

func (p *Proxy) serveLocked(l net.Listener) {
	p.listen = l
	p.wg.Go(func() {
		for {
			if !p.accept.pass(p.closing) {
				return
			}
			c, err := l.Accept()
			if err != nil {
				return // the listener is closed, here or by ResetListener
			}
			// A pause that began while Accept waited holds this connection too.
			if !p.accept.pass(p.closing) {
				_ = c.Close()
				return
			}
			p.accepted.Add(1)
			p.wg.Go(func() { p.join(c.(*net.TCPConn), l) })
		}
	})
}

// join connects a new connection with the target and carries what flows until both directions have
// ended.
func (p *Proxy) join(c *net.TCPConn, listen net.Listener) {
	d, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = c.SetLinger(0)
		_ = c.Close()
		return
	}
	l := &link{from: c, to: d.(*net.TCPConn), ended: make(chan struct{})}
	p.mu.Lock()
	refused := p.listen != listen // reset meanwhile
	p.links[l] = struct{}{}
	p.mu.Unlock()
	if refused {
		l.reset()
	}
	l.carry(p.Tx, p.Rx)
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
