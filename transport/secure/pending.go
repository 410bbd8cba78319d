package secure

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/internal/shortage"
)

const (
	// HandshakeTimeout is how long an accepted connection may take to identify itself.
	HandshakeTimeout = 2 * time.Second
	// MaxPending bounds the accepted connections of a listener that have not identified themselves.
	MaxPending = 64
	// grace is how long a pending connection cannot be displaced by others. 64 connections in 50 ms
	// are 1280 a second; faster ones wait in the kernel's backlog.
	grace = 50 * time.Millisecond
	// acceptPause is the pause after a failed accept: descriptors may be short for a while.
	acceptPause = 5 * time.Millisecond
)

// errDisplaced: a newer connection has taken this one's slot.
var errDisplaced = errors.New("displaced by other connections before it had identified itself")

// Pending is an accepted connection that has not identified itself yet. It has a deadline,
// [HandshakeTimeout] after it was accepted.
type Pending struct {
	net.Conn
	set      *pendingSet
	accepted time.Time
	slot     int           // in set.all, -1 once it is removed
	removed  chan struct{} // closed then
}

// Wait waits until ready is closed. It fails if before that the connection is displaced or its
// deadline passes.
func (p *Pending) Wait(ready <-chan struct{}) error {
	timer := time.NewTimer(time.Until(p.accepted.Add(HandshakeTimeout)))
	defer timer.Stop()
	select {
	case <-ready:
		return nil
	case <-p.removed:
		return errDisplaced
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// Identified says that the connection is no longer pending, clears its deadline, and fails if it
// has been displaced. Call it before the peer learns that it is accepted.
func (p *Pending) Identified() error {
	if !p.set.release(p) {
		return errDisplaced
	}
	return p.SetDeadline(time.Time{})
}

// Serve accepts connections of l until l closes or ctx ends, which closes l, and calls identify
// with each in a goroutine of its own. If identify fails, the connection is closed and passed to
// drop. If it succeeds, the connection belongs to identify, which must have called Identified;
// then, unless it is nil, runs in the same goroutine. Serve returns when all goroutines have.
//
// A connection that comes while MaxPending are pending displaces a random one of those whose grace
// is over. With a queue, a client that opens many connections and sends nothing could keep ranks
// out for a minute. If the oldest were displaced, a rank that is slower than the flow of
// connections would never be served; at random, each attempt has its chance.
//
// If accepting has failed for a while because this process is short of descriptors or memory, short
// is called with the cause, once.
func Serve(ctx context.Context, l net.Listener, identify func(*Pending) (then func(), err error), drop func(net.Conn, error), short func(error)) {
	set := &pendingSet{freed: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer set.close()
	defer context.AfterFunc(ctx, func() {
		_ = l.Close()
		set.close()
	})()
	var shortages shortage.Watch
	reported := false
	for ctx.Err() == nil {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if shortages.Lasts(err) && !reported {
			reported = true
			short(err)
		}
		if err != nil {
			pause(ctx, acceptPause, nil)
			continue
		}
		p := set.add(ctx, conn)
		wg.Go(func() {
			then, err := p.serve(identify)
			if err != nil {
				drop(conn, err)
			} else if then != nil {
				then()
			}
		})
	}
}

// serve calls identify with p, and closes p if that fails. Afterwards p is not pending.
func (p *Pending) serve(identify func(*Pending) (func(), error)) (func(), error) {
	err := p.SetDeadline(p.accepted.Add(HandshakeTimeout))
	if err != nil {
		p.set.release(p)
		_ = p.Close()
		return nil, err
	}
	then, err := identify(p)
	if p.set.release(p) && err == nil {
		panic("secure: identify has kept a connection without calling Identified")
	}
	if err != nil {
		_ = p.Close()
	}
	return then, err
}

// pendingSet holds the pending connections of a listener.
type pendingSet struct {
	mu     sync.Mutex
	all    []*Pending
	closed bool
	freed  chan struct{} // a slot is free
}

// add puts conn into the set, in the slot of another if the set is full.
func (s *pendingSet) add(ctx context.Context, conn net.Conn) *Pending {
	p := &Pending{Conn: conn, set: s, accepted: time.Now(), removed: make(chan struct{})}
	for {
		wait := s.tryAdd(p)
		if wait == 0 {
			return p
		}
		pause(ctx, wait, s.freed)
	}
}

// tryAdd returns after which time to try again, if there is neither a free slot nor a connection
// that can be displaced.
func (s *pendingSet) tryAdd(p *Pending) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		p.slot = -1
		close(p.removed)
		_ = p.Close()
		return 0
	}
	if len(s.all) >= MaxPending {
		victim, wait := s.victim()
		if victim == nil {
			return wait
		}
		s.remove(victim)
		_ = victim.Close()
	}
	p.slot = len(s.all)
	s.all = append(s.all, p)
	return 0
}

// victim returns a random connection whose grace is over, or the time until there is one.
func (s *pendingSet) victim() (*Pending, time.Duration) {
	wait, start := grace, rand.IntN(len(s.all))
	for i := range s.all {
		p := s.all[(start+i)%len(s.all)]
		left := grace - time.Since(p.accepted)
		if left <= 0 {
			return p, 0
		}
		wait = min(wait, left)
	}
	return nil, wait
}

// release removes p, and reports whether it was in the set.
func (s *pendingSet) release(p *Pending) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.slot < 0 {
		return false
	}
	s.remove(p)
	s.signal()
	return true
}

// remove takes p out of its slot, and moves the last connection there.
func (s *pendingSet) remove(p *Pending) {
	last := s.all[len(s.all)-1]
	s.all[p.slot], last.slot = last, p.slot
	s.all[len(s.all)-1] = nil
	s.all = s.all[:len(s.all)-1]
	p.slot = -1
	close(p.removed)
}

// close closes all connections of the set, and each that is added later.
func (s *pendingSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, p := range s.all {
		p.slot = -1
		close(p.removed)
		_ = p.Close()
	}
	s.all = nil
	s.signal()
}

// signal wakes add, if it waits for a slot.
func (s *pendingSet) signal() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// pause waits for d, a signal or the end of ctx.
func pause(ctx context.Context, d time.Duration, signal <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-signal:
	case <-ctx.Done():
	}
}
