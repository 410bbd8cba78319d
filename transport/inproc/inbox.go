package inproc

import (
	"math"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/matching"
)

const (
	// overhead is what a message buffered in the inbox is charged beyond its bytes, so that empty
	// messages are bounded too.
	overhead = 64
	// spareOps and spareBytes bound the emptied buffers that an inbox keeps to use again.
	spareOps, spareBytes = 1024, 1 << 20
)

// inbox is where the messages to one rank wait. Its methods may be called by any number of
// goroutines.
type inbox struct {
	owner int
	limit int

	mu      sync.Mutex
	senders []*matcher // each made when it is first needed
	spare   []*op      // emptied messages, whose store is used again
	idling  int        // bytes of their stores
	left    []bool     // senders that have closed
	closed  bool       // the owner has closed
	broken  error      // what every operation fails with, once set
}

// matcher pairs what one sender sends with the receives of the owner. It holds the bytes of
// buffered messages.
type matcher = matching.Matcher[op, op]

// newInbox returns the inbox of rank owner in a job of ranks, which keeps at most limit bytes of
// each sender's messages that nobody has asked for. What the owner sends to itself is buffered
// without limit.
func newInbox(owner, ranks, limit int) *inbox {
	return &inbox{
		owner:   owner,
		limit:   limit,
		senders: make([]*matcher, ranks),
		left:    make([]bool, ranks),
	}
}

// sender returns the matcher of rank from. mu is held.
func (b *inbox) sender(from int) *matcher {
	m := b.senders[from]
	if m == nil {
		m = new(matcher)
		m.SetLimit(b.limit)
		if from == b.owner {
			m.SetLimit(math.MaxInt)
		}
		b.senders[from] = m
	}
	return m
}

// send starts sending the concatenation of bufs as the next operation of g. If no receive is posted
// and the message is no longer than eager, and fits in the inbox, it is buffered there and the
// operation is done. Otherwise bufs are the inbox's until the operation is done or taken back.
//
// An error means that the operation was not started: [transport.ErrClosed] where the sender has
// closed, [transport.ErrPeerClosed] where the owner has, [transport.ErrTruncated] where the receive
// is too short, which stays posted; or what the inbox was broken with.
func (b *inbox) send(g *group, from int, tag transport.Tag, eager int, bufs [][]byte) error {
	o := g.start(b, sending, from, tag, bufs)
	b.mu.Lock()
	if err := b.refusesSend(from); err != nil {
		b.mu.Unlock()
		return err
	}
	m := b.sender(from)
	r, err := m.Arrive(tag, o.size)
	switch {
	case err != nil:
	case r != nil:
		r.waits = false
		b.mu.Unlock()
		r.n = rows.CopyAll(r.bufs, bufs)
		r.finish(nil)
		return nil
	case b.buffers(m, o, eager):
		m.Keep(tag, o.size, b.buffer(o))
	default:
		o.wait()
		m.Keep(tag, o.size, o)
	}
	b.mu.Unlock()
	return err
}

// recv starts receiving the next message of rank from under tag, as the next operation of g, into
// bufs, which are the inbox's until the operation is done or taken back. An error means that the
// operation was not started: [transport.ErrClosed] where the owner has closed,
// [transport.ErrPeerClosed] where the sender has and nothing of it is left,
// [transport.ErrTruncated] where the message is too long, which stays; or what the inbox was broken
// with.
func (b *inbox) recv(g *group, from int, tag transport.Tag, bufs [][]byte) error {
	o := g.start(b, receiving, from, tag, bufs)
	b.mu.Lock()
	if err := b.refusesRecv(); err != nil {
		b.mu.Unlock()
		return err
	}
	m := b.sender(from)
	s, err := m.Post(tag, o.size, o)
	switch {
	case err != nil:
	case s != nil:
		b.consume(s, o)
		return nil
	case b.left[from]:
		m.Withdraw(tag, o)
		err = transport.ErrPeerClosed
	default:
		o.wait()
	}
	b.mu.Unlock()
	return err
}

// consume hands the waiting message s to the receive r, which has just come. It unlocks the inbox.
func (b *inbox) consume(s, r *op) {
	s.waits = false
	if s.side == buffered {
		// It is short: copying it under the lock is cheaper than taking the lock again.
		r.n = rows.Spread(r.bufs, s.store)
		b.release(s)
		b.mu.Unlock()
		return
	}
	b.mu.Unlock()
	r.n = rows.CopyAll(r.bufs, s.bufs)
	s.finish(nil)
}

// buffers tells whether a message that nobody has asked for is copied into the inbox rather than
// made to wait, and holds its bytes then.
func (b *inbox) buffers(m *matcher, o *op, eager int) bool {
	return (o.from == b.owner || o.size <= eager) && m.Hold(o.size+overhead)
}

// buffer returns a copy of the message o.
func (b *inbox) buffer(o *op) *op {
	var m *op
	if last := len(b.spare) - 1; last >= 0 {
		m, b.spare = b.spare[last], b.spare[:last]
		b.idling -= cap(m.store)
	} else {
		m = new(op)
	}
	m.side, m.from, m.tag, m.size = buffered, o.from, o.tag, o.size
	for _, buf := range o.bufs {
		m.store = append(m.store, buf...)
	}
	return m
}

// release gives back what the buffered message m, no longer queued, takes up.
func (b *inbox) release(m *op) {
	b.senders[m.from].Release(m.size + overhead)
	if len(b.spare) < spareOps && b.idling+cap(m.store) <= spareBytes {
		b.idling += cap(m.store)
		m.store = m.store[:0]
		b.spare = append(b.spare, m)
	}
}
