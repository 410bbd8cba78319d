package inproc

import "github.com/switchyard-moe/switchyard/transport"

// fail breaks the inbox: all that waits in it fails with err, and so does all that comes later.
// Only the first call counts.
func (b *inbox) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return
	}
	b.broken = err
	b.sweep(func(*op) error { return err })
}

// close is called when the owner closes: its receives fail with [transport.ErrClosed], now and
// later, and what had been buffered for it is dropped. It tells whether somebody was still waiting
// to send to it; those go on waiting, for the caller to break the inbox.
func (b *inbox) close() (expected bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.sweep(func(o *op) error {
		if o.side == sending && o.from != b.owner {
			expected = true
			return nil
		}
		return transport.ErrClosed
	})
	return expected
}

// leave is called when a sender closes: what it waits to send fails with [transport.ErrClosed], now
// and later. What the inbox keeps of it can still be received. It tells whether the owner was
// waiting for a message of it; that receive goes on waiting, for the caller to break the inbox.
func (b *inbox) leave(from int) (expected bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left[from] = true
	b.sweep(func(o *op) error {
		switch {
		case o.from != from || o.side == buffered:
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
func (b *inbox) sweep(verdict func(*op) error) {
	for _, m := range b.senders {
		if m == nil {
			continue
		}
		for o := range m.Receives() {
			b.judge(m, o, verdict(o))
		}
		for o := range m.Messages() {
			b.judge(m, o, verdict(o))
		}
	}
}

// judge fails o, which m has, with err, unless that is nil.
func (b *inbox) judge(m *matcher, o *op, err error) {
	if err == nil {
		return
	}
	o.takeOut(m)
	if o.side == buffered {
		b.release(o)
		return
	}
	o.finish(err)
}

// refusesSend returns why rank from can send nothing any more, or nil. What a rank did itself comes
// first.
func (b *inbox) refusesSend(from int) error {
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
func (b *inbox) refusesRecv() error {
	if b.closed {
		return transport.ErrClosed
	}
	return b.broken
}
