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
	// Patience is how long an accepted connection may take to say who it is.
	Patience = 2 * time.Second
	// MaxStrangers bounds the accepted connections that have not yet said who they are.
	MaxStrangers = 64
	// grace is how long a stranger is safe from being displaced by others. 64 strangers in 50 ms
	// are 1280 a second; faster ones wait in the kernel's backlog.
	grace = 50 * time.Millisecond
	// acceptPause is the pause after a failed accept: descriptors may be short for a while.
	acceptPause = 5 * time.Millisecond
)

// errDisplaced: the connection had to make room.
var errDisplaced = errors.New("displaced by other connections before it had said who it is")

// Stranger is an accepted connection that has not yet said who it is. It has a deadline, [Patience]
// after its arrival.
type Stranger struct {
	net.Conn
	hall    *hall
	arrived time.Time
	place   int           // in hall.all, -1 once it has left
	left    chan struct{} // closed then
}

// Wait waits until ready is closed. It fails when the connection has to make room or its time has
// passed before.
func (s *Stranger) Wait(ready <-chan struct{}) error {
	timer := time.NewTimer(time.Until(s.arrived.Add(Patience)))
	defer timer.Stop()
	select {
	case <-ready:
		return nil
	case <-s.left:
		return errDisplaced
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// Known says that the connection is no stranger any more, takes its deadline away, and fails if it
// has been displaced. It must be called before the peer is told that it is accepted.
func (s *Stranger) Known() error {
	if !s.hall.leave(s) {
		return errDisplaced
	}
	return s.SetDeadline(time.Time{})
}

// Receive accepts connections of l until l closes or ctx ends, which closes l, and gives each to
// serve in a goroutine of its own. A connection for which serve fails is closed and passed to drop;
// one for which it succeeds is serve's to keep, and then, if that is not nil, runs in the same
// goroutine once serve's stranger has left. Receive returns when all goroutines have.
//
// When a connection comes while there are MaxStrangers, it takes the place of a random one of those
// that have had their grace. Waiting in line would let who connects in great numbers and says
// nothing keep ranks out for a minute; and the oldest is not who goes, because then a rank that is
// slower than the flow of strangers would never be heard, while so each attempt has its chance.
//
// When accepting has failed for a while because this process is short of descriptors or memory,
// short is told why, once.
func Receive(ctx context.Context, l net.Listener, serve func(*Stranger) (then func(), err error), drop func(net.Conn, error), short func(error)) {
	h := &hall{room: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer h.empty()
	defer context.AfterFunc(ctx, func() {
		_ = l.Close()
		h.empty()
	})()
	var wanting shortage.Watch
	told := false
	for ctx.Err() == nil {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if wanting.Lasts(err) && !told {
			told = true
			short(err)
		}
		if err != nil {
			pause(ctx, acceptPause, nil)
			continue
		}
		s := h.enter(ctx, conn)
		wg.Go(func() {
			then, err := s.serve(serve)
			if err != nil {
				drop(conn, err)
			} else if then != nil {
				then()
			}
		})
	}
}

// serve runs f on s and sees that s has left or is closed afterwards.
func (s *Stranger) serve(f func(*Stranger) (func(), error)) (func(), error) {
	err := s.SetDeadline(s.arrived.Add(Patience))
	if err != nil {
		s.hall.leave(s)
		_ = s.Close()
		return nil, err
	}
	then, err := f(s)
	if s.hall.leave(s) && err == nil {
		panic("secure: serve has kept a connection that is not Known")
	}
	if err != nil {
		_ = s.Close()
	}
	return then, err
}

// hall is where strangers are.
type hall struct {
	mu   sync.Mutex
	all  []*Stranger
	shut bool
	room chan struct{} // somebody has left
}

// enter lets conn in, in the place of another if it must be.
func (h *hall) enter(ctx context.Context, conn net.Conn) *Stranger {
	s := &Stranger{Conn: conn, hall: h, arrived: time.Now(), left: make(chan struct{})}
	for {
		wait := h.tryEnter(s)
		if wait == 0 {
			return s
		}
		pause(ctx, wait, h.room)
	}
}

// tryEnter returns after which time to try again, if there is neither room nor a stranger to
// displace.
func (h *hall) tryEnter(s *Stranger) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		s.place = -1
		close(s.left)
		_ = s.Close()
		return 0
	}
	if len(h.all) >= MaxStrangers {
		victim, wait := h.choose()
		if victim == nil {
			return wait
		}
		h.remove(victim)
		_ = victim.Close()
	}
	s.place = len(h.all)
	h.all = append(h.all, s)
	return 0
}

// choose returns a random one of those whose grace is over, or when the first will be such.
func (h *hall) choose() (*Stranger, time.Duration) {
	wait, start := grace, rand.IntN(len(h.all))
	for i := range h.all {
		s := h.all[(start+i)%len(h.all)]
		left := grace - time.Since(s.arrived)
		if left <= 0 {
			return s, 0
		}
		wait = min(wait, left)
	}
	return nil, wait
}

// leave takes s out, and reports whether it was there.
func (h *hall) leave(s *Stranger) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.place < 0 {
		return false
	}
	h.remove(s)
	select {
	case h.room <- struct{}{}:
	default:
	}
	return true
}

// remove takes s out; the last one takes its place.
func (h *hall) remove(s *Stranger) {
	last := h.all[len(h.all)-1]
	h.all[s.place], last.place = last, s.place
	h.all[len(h.all)-1] = nil
	h.all = h.all[:len(h.all)-1]
	s.place = -1
	close(s.left)
}

// empty turns everybody out, and whoever comes later.
func (h *hall) empty() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shut = true
	for _, s := range h.all {
		s.place = -1
		close(s.left)
		_ = s.Close()
	}
	h.all = nil
	select {
	case h.room <- struct{}{}:
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
