package matching

import "github.com/switchyard-moe/switchyard/transport"

// Fail breaks the queue: all that waits in it fails with err, and so does all that comes later.
// Only the first call counts.
func (q *Queue) Fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken != nil {
		return
	}
	q.broken = err
	q.sweep(func(*op) error { return err })
}

// Close is called when the owner closes: its receives fail with [transport.ErrClosed], now and
// later, and what had been buffered for it is dropped. It tells whether somebody was still waiting
// to send to it; those go on waiting, for the caller to break the queue.
func (q *Queue) Close() (expected bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.sweep(func(o *op) error {
		if o.side == sending && o.key.from != q.owner {
			expected = true
			return nil
		}
		return transport.ErrClosed
	})
	return expected
}

// Leave is called when a sender closes: what it waits to send fails with [transport.ErrClosed], now
// and later. What the queue keeps of it can still be received. It tells whether the owner was
// waiting for a message of it; that receive goes on waiting, for the caller to break the queue.
func (q *Queue) Leave(from int) (expected bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.left[from] = true
	q.sweep(func(o *op) error {
		switch {
		case o.key.from != from || o.side == buffered:
			return nil
		case o.side == receiving:
			expected = true
			return nil
		}
		return transport.ErrClosed
	})
	return expected
}

// sweep visits all that waits, and fails what verdict returns an error for.
func (q *Queue) sweep(verdict func(*op) error) {
	for _, l := range q.lines {
		for o := l.head; o != nil; {
			next := o.next
			if err := verdict(o); err != nil {
				q.evict(o, err)
			}
			o = next
		}
	}
}

func (q *Queue) evict(o *op, err error) {
	q.unlink(o)
	if o.side == buffered {
		q.release(o)
		return
	}
	o.finish(err)
}

// refusesSend returns why rank from can send nothing any more, or nil. What a rank did itself comes
// first.
func (q *Queue) refusesSend(from int) error {
	switch {
	case q.left[from]:
		return transport.ErrClosed
	case q.broken != nil:
		return q.broken
	case q.closed:
		return transport.ErrPeerClosed
	}
	return nil
}

// refusesRecv returns why the owner can receive nothing any more, or nil.
func (q *Queue) refusesRecv() error {
	if q.closed {
		return transport.ErrClosed
	}
	return q.broken
}
