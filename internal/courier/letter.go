package courier

import (
	"context"
	"sync"
	"time"
)

// Letter is one message in store.
type Letter struct {
	key    Key
	body   []byte
	due    time.Time
	ctx    context.Context // of its delivery
	cancel context.CancelFunc

	hurry   sync.Once
	hurried chan struct{}

	going bool          // being handed on; guarded by the courier's lock
	done  chan struct{} // closed when err is known
	err   error
}

func newLetter(life context.Context, k Key, bufs [][]byte, due time.Time) *Letter {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	l := &Letter{key: k, body: make([]byte, 0, n), due: due,
		hurried: make(chan struct{}), done: make(chan struct{})}
	for _, b := range bufs {
		l.body = append(l.body, b...)
	}
	l.ctx, l.cancel = context.WithCancel(life)
	return l
}

// Release makes the letter due at once. It may be called at any time and more than once.
func (l *Letter) Release() { l.hurry.Do(func() { close(l.hurried) }) }

// Done is closed when the letter has been handed on, taken back or dropped.
func (l *Letter) Done() <-chan struct{} { return l.done }

// Withdraw takes l back, and reports whether that was in time. A letter that is just being handed on is
// waited for.
func (c *Courier) Withdraw(l *Letter) bool {
	l.cancel()
	c.mu.Lock()
	if !l.going && l.waits() {
		c.remove(l, errTaken)
	}
	c.mu.Unlock()
	<-l.done
	return l.err != nil
}

// waits reports whether the letter's end is still unknown.
func (l *Letter) waits() bool {
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

// overdue reports whether the letter should have left by now.
func (l *Letter) overdue(now time.Time) bool {
	select {
	case <-l.hurried:
		return true
	default:
		return !l.due.After(now)
	}
}

// Wait returns nil when l has been handed on, or when free has passed and its receiver is not too far behind; from
// then on l is delivered without its sender. If ctx ends before, l is taken back and ctx's error returned, unless
// it was too late for that. Other errors are those of [Courier.Post].
func (c *Courier) Wait(ctx context.Context, l *Letter, free time.Time) error {
	if err := c.waitUntil(ctx, l, free); err != nil {
		return err
	}
	for {
		c.mu.Lock()
		room, changed := !l.waits() || c.backlog(l.key.To) <= c.limit, c.changed
		c.mu.Unlock()
		if room {
			return c.result(l)
		}
		select {
		case <-l.done:
		case <-changed:
		case <-ctx.Done():
			return c.takeBack(l, ctx.Err())
		case <-c.closing:
			return c.takeBack(l, ErrClosed)
		}
	}
}

// waitUntil waits for the moment free, or for the letter's end.
func (c *Courier) waitUntil(ctx context.Context, l *Letter, free time.Time) error {
	left := time.Until(free)
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.done:
	case <-ctx.Done():
		return c.takeBack(l, ctx.Err())
	case <-c.closing:
		if time.Until(free) > 0 {
			return c.takeBack(l, ErrClosed)
		}
	case <-c.life.Done():
	}
	return nil
}

func (c *Courier) takeBack(l *Letter, why error) error {
	if c.Withdraw(l) {
		return why
	}
	return nil
}

// result is how the letter has ended, or why it cannot end well. One that is still on its way when the courier closes is
// delivered none the less: that is no error to its sender.
func (c *Courier) result(l *Letter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case l.waits():
		return c.fault
	case l.err == nil:
		return nil
	}
	if err := c.unusable(); err != nil {
		return err
	}
	return l.err
}

// backlog is how many bytes for one receiver are due and not taken. The caller holds the lock.
func (c *Courier) backlog(to int) int {
	n, now := 0, time.Now()
	for k, lane := range c.lanes {
		if k.To != to {
			continue
		}
		for _, l := range lane {
			if l.overdue(now) {
				n += len(l.body)
			}
		}
	}
	return n
}
