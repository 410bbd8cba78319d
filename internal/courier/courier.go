// Package courier keeps messages back until they are due, and then hands them on, in order within one
// (receiver, tag). It is what transports that imitate slow or disturbed networks are made of: their Send gives a
// copy of the message to the courier and returns, as it would with a network's own buffers in between.
//
// There is one goroutine for each (receiver, tag) with messages in store, and none otherwise. Times are only ever
// compared and waited for with package time, so that in a testing/synctest bubble everything is exact.
package courier

import (
	"context"
	"errors"
	"sync"
	"time"
)

var (
	// ErrClosed: the courier has been closed.
	ErrClosed = errors.New("courier closed")
	// errTaken is how a letter ends that is not handed on.
	errTaken = errors.New("letter taken back")
)

// Key tells apart the messages that must keep their order.
type Key struct {
	To  int
	Tag uint64
}

// Deliver hands one message on. It keeps no reference to body once it has returned.
type Deliver func(ctx context.Context, to int, tag uint64, body []byte) error

// Courier keeps messages of one sender. Its methods may be called by any number of goroutines.
type Courier struct {
	deliver Deliver
	limit   int
	life    context.Context // of the deliveries
	end     context.CancelFunc
	closing chan struct{}
	wg      sync.WaitGroup

	mu      sync.Mutex
	lanes   map[Key][]*Letter // a key is there for as long as somebody serves it
	changed chan struct{}     // closed and made anew whenever a letter has left
	latest  time.Time         // when the last letter in store is due
	closed  bool
	fault   error
}

// New returns a courier that hands messages to deliver. [Courier.Wait] holds senders up while more than limit
// bytes for one receiver are due but not taken.
func New(deliver Deliver, limit int) *Courier {
	c := &Courier{deliver: deliver, limit: limit, closing: make(chan struct{}),
		lanes: make(map[Key][]*Letter), changed: make(chan struct{})}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// Post stores a copy of the message in bufs, to be delivered when it is due and all that was posted before it
// under the same key has been. Its error is [ErrClosed], or what a delivery has failed with.
func (c *Courier) Post(k Key, bufs [][]byte, due time.Time) (*Letter, error) {
	l := newLetter(c.life, k, bufs, due)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.unusable(); err != nil {
		l.cancel()
		return nil, err
	}
	if due.After(c.latest) {
		c.latest = due
	}
	lane, served := c.lanes[k]
	c.lanes[k] = append(lane, l)
	if !served {
		c.wg.Go(func() { c.serve(k) })
	}
	return l, nil
}

// Check returns why nothing can be posted to the receiver any more, or nil. It asks deliver with a context that has
// ended, which moves nothing but tells whether the way is still open.
func (c *Courier) Check(to int, tag uint64) error {
	c.mu.Lock()
	err := c.unusable()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.deliver(ended, to, tag, nil); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Busy reports whether a message under k is in store or on its way.
func (c *Courier) Busy(k Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lanes[k]) > 0
}

// Fail makes every pending and later call return err. The first one counts. What is in store is dropped.
func (c *Courier) Fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault != nil {
		return
	}
	c.fault = err
	c.end()
	c.announce()
}

// unusable tells why nothing can be posted. The caller holds the lock.
func (c *Courier) unusable() error {
	if c.closed {
		return ErrClosed
	}
	return c.fault
}

// announce wakes all who wait for something to change. The caller holds the lock.
func (c *Courier) announce() {
	close(c.changed)
	c.changed = make(chan struct{})
}
