package delayqueue

import (
	"context"
	"sync"
	"time"
)

// Message is one message in store.
type Message struct {
	key    Key
	body   []byte
	due    time.Time
	ctx    context.Context // of its delivery
	cancel context.CancelFunc

	release  sync.Once
	released chan struct{}

	going bool          // being handed on; guarded by the queue's lock
	done  chan struct{} // closed when err is known
	err   error
}

func newMessage(life context.Context, k Key, bufs [][]byte, due time.Time) *Message {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	m := &Message{key: k, body: make([]byte, 0, n), due: due,
		released: make(chan struct{}), done: make(chan struct{})}
	for _, b := range bufs {
		m.body = append(m.body, b...)
	}
	m.ctx, m.cancel = context.WithCancel(life)
	return m
}

// Release makes the message due at once. It may be called at any time and more than once.
func (m *Message) Release() { m.release.Do(func() { close(m.released) }) }

// Done is closed when the message has been handed on, taken back or dropped.
func (m *Message) Done() <-chan struct{} { return m.done }

// Withdraw takes m back, and reports whether that was in time. A message that is just being handed
// on is waited for.
func (q *Queue) Withdraw(m *Message) bool {
	m.cancel()
	q.mu.Lock()
	if !m.going && m.waits() {
		q.remove(m, errTaken)
	}
	q.mu.Unlock()
	<-m.done
	return m.err != nil
}

// waits reports whether the message's end is still unknown.
func (m *Message) waits() bool {
	select {
	case <-m.done:
		return false
	default:
		return true
	}
}

// overdue reports whether the message should have left by now.
func (m *Message) overdue(now time.Time) bool {
	select {
	case <-m.released:
		return true
	default:
		return !m.due.After(now)
	}
}

// Wait returns nil when m has been handed on, or when free has passed and its receiver is not too
// far behind; from then on m is delivered without its sender. If ctx ends before, m is taken back
// and ctx's error returned, unless it was too late for that. Other errors are those of
// [Queue.Post].
func (q *Queue) Wait(ctx context.Context, m *Message, free time.Time) error {
	if err := q.waitUntil(ctx, m, free); err != nil {
		return err
	}
	for {
		q.mu.Lock()
		room, changed := !m.waits() || q.backlog(m.key.To) <= q.limit, q.changed
		q.mu.Unlock()
		if room {
			return q.result(m)
		}
		select {
		case <-m.done:
		case <-changed:
		case <-ctx.Done():
			return q.takeBack(m, ctx.Err())
		case <-q.closing:
			return q.takeBack(m, ErrClosed)
		}
	}
}

// waitUntil waits for the moment free, or for the message's end.
func (q *Queue) waitUntil(ctx context.Context, m *Message, free time.Time) error {
	left := time.Until(free)
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.done:
	case <-ctx.Done():
		return q.takeBack(m, ctx.Err())
	case <-q.closing:
		if time.Until(free) > 0 {
			return q.takeBack(m, ErrClosed)
		}
	case <-q.life.Done():
	}
	return nil
}

func (q *Queue) takeBack(m *Message, why error) error {
	if q.Withdraw(m) {
		return why
	}
	return nil
}

// result is how the message has ended, or why it cannot end well. One that is still on its way when
// the queue closes is delivered none the less: that is no error to its sender.
func (q *Queue) result(m *Message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case m.waits():
		return q.fault
	case m.err == nil:
		return nil
	}
	if err := q.unusable(); err != nil {
		return err
	}
	return m.err
}

// backlog is how many bytes for one receiver are due and not taken. The caller holds the lock.
func (q *Queue) backlog(to int) int {
	n, now := 0, time.Now()
	for k, line := range q.waiting {
		if k.To != to {
			continue
		}
		for _, m := range line {
			if m.overdue(now) {
				n += len(m.body)
			}
		}
	}
	return n
}
