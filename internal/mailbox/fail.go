package mailbox

import "github.com/switchyard-moe/switchyard/transport"

// Fail breaks the box: all that waits in it fails with err, and so does all that comes later. Only the first call counts.
func (b *Box) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return
	}
	b.broken = err
	b.sweep(func(*op) error { return err })
}

// Close is the owner's farewell: its receives fail with [transport.ErrClosed], now and later, and what had been
// kept for it is dropped. It tells whether somebody was still waiting to send to it; those go on waiting, for the
// caller to break the box.
func (b *Box) Close() (expected bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.sweep(func(o *op) error {
		if o.side == sending && o.key.from != b.owner {
			expected = true
			return nil
		}
		return transport.ErrClosed
	})
	return expected
}

// Leave is a sender's farewell: what it waits to send fails with [transport.ErrClosed], now and later. What the box
// keeps of it can still be received. It tells whether the owner was waiting for a message of it; that receive goes
// on waiting, for the caller to break the box.
func (b *Box) Leave(from int) (expected bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left[from] = true
	b.sweep(func(o *op) error {
		switch {
		case o.key.from != from || o.side == kept:
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
func (b *Box) sweep(verdict func(*op) error) {
	for _, q := range b.queues {
		for o := q.head; o != nil; {
			next := o.next
			if err := verdict(o); err != nil {
				b.evict(o, err)
			}
			o = next
		}
	}
}

func (b *Box) evict(o *op, err error) {
	b.unlink(o)
	if o.side == kept {
		b.release(o)
		return
	}
	o.finish(err)
}

// refusesSend returns why rank from can send nothing any more, or nil. What a rank did itself comes first.
func (b *Box) refusesSend(from int) error {
	switch {
	case b.left[from]:
		return transport.ErrClosed
	case b.broken != nil:
		return b.broken
	case b.closed:
		return transport.ErrPeerClosed
	}
	return nil
}

// refusesRecv returns why the owner can receive nothing any more, or nil.
func (b *Box) refusesRecv() error {
	if b.closed {
		return transport.ErrClosed
	}
	return b.broken
}
