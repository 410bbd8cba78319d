// Package delayqueue keeps messages back until they are due, and then hands them on, in order
// within one (receiver, tag). It is what transports that imitate slow or disturbed networks are
// made of: their Send gives a copy of the message to the queue and returns, as it would with a
// network's own buffers in between.
//
// There is one goroutine for each (receiver, tag) with messages in store, and none otherwise. Times
// are only ever compared and waited for with package time, so that in a testing/synctest bubble
// everything is exact.
package delayqueue

import (
	"context"
	"errors"
	"sync"
	"time"
)

var (
	// ErrClosed: the queue has been closed.
	ErrClosed = errors.New("delay queue closed")
	// errTaken is how a message ends that is not handed on.
	errTaken = errors.New("message withdrawn")
)

// Key tells apart the messages that must keep their order.
type Key struct {
	To  int
	Tag uint64
}

// Deliver hands one message on. It keeps no reference to body once it has returned.
type Deliver func(ctx context.Context, to int, tag uint64, body []byte) error

// Queue keeps messages of one sender. Its methods may be called by any number of goroutines.
type Queue struct {
	deliver Deliver
	limit   int
	life    context.Context // of the deliveries
	end     context.CancelFunc
	closing chan struct{}
	wg      sync.WaitGroup

	mu      sync.Mutex
	waiting map[Key][]*Message // a key is there for as long as a goroutine serves it
	changed chan struct{}      // closed and made anew whenever a message has left
	latest  time.Time          // when the last message in store is due
	closed  bool
	fault   error
}

// New returns a queue that hands messages to deliver. [Queue.Wait] holds senders up while more than
// limit bytes for one receiver are due but not taken.
func New(deliver Deliver, limit int) *Queue {
	q := &Queue{deliver: deliver, limit: limit, closing: make(chan struct{}),
		waiting: make(map[Key][]*Message), changed: make(chan struct{})}
	q.life, q.end = context.WithCancel(context.Background())
	return q
}

// Post stores a copy of the message in bufs, to be delivered when it is due and all that was posted
// before it under the same key has been. Its error is [ErrClosed], or what a delivery has failed
// with.
func (q *Queue) Post(k Key, bufs [][]byte, due time.Time) (*Message, error) {
	m := newMessage(q.life, k, bufs, due)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.unusable(); err != nil {
		m.cancel()
		return nil, err
	}
	if due.After(q.latest) {
		q.latest = due
	}
	line, served := q.waiting[k]
	q.waiting[k] = append(line, m)
	if !served {
		q.wg.Go(func() { q.serve(k) })
	}
	return m, nil
}

// Check returns why nothing can be posted to the receiver any more, or nil. It asks deliver with a
// context that has ended, which moves nothing but tells whether the way is still open.
func (q *Queue) Check(to int, tag uint64) error {
	q.mu.Lock()
	err := q.unusable()
	q.mu.Unlock()
	if err != nil {
		return err
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := q.deliver(ended, to, tag, nil); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Busy reports whether a message under k is in store or on its way.
func (q *Queue) Busy(k Key) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting[k]) > 0
}

// Fail makes every pending and later call return err. The first one counts. What is in store is
// dropped.
func (q *Queue) Fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fault != nil {
		return
	}
	q.fault = err
	q.end()
	q.announce()
}

// unusable tells why nothing can be posted. The caller holds the lock.
func (q *Queue) unusable() error {
	if q.closed {
		return ErrClosed
	}
	return q.fault
}

// announce wakes all who wait for something to change. The caller holds the lock.
func (q *Queue) announce() {
	close(q.changed)
	q.changed = make(chan struct{})
}
