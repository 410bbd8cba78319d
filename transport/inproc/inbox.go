package inproc

import (
	"sync"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
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

	mu     sync.Mutex
	lines  map[key]*line
	idle   *line  // emptied lines, to be used again
	spare  []*op  // emptied messages, whose store is used again
	idling int    // bytes of their stores
	held   []int  // bytes buffered in the inbox, by sender
	left   []bool // senders that have closed
	closed bool   // the owner has closed
	broken error  // what every operation fails with, once set
}

// newInbox returns the inbox of rank owner in a job of ranks, which keeps at most limit bytes of
// each sender's messages that nobody has asked for. What the owner sends to itself is buffered
// without limit.
func newInbox(owner, ranks, limit int) *inbox {
	return &inbox{
		owner: owner,
		limit: limit,
		lines: make(map[key]*line),
		held:  make([]int, ranks),
		left:  make([]bool, ranks),
	}
}

// send starts sending the concatenation of bufs as the next operation of g. If no receive is posted
// and the message is no longer than eager, and fits in the inbox, it is buffered there and the
// operation is done. Otherwise bufs are the inbox's until the operation is done or taken back.
//
// An error means that the operation was not started: [transport.ErrClosed] where the sender has
// closed, [transport.ErrPeerClosed] where the owner has, [transport.ErrTruncated] where the receive
// is too short, which stays posted; or what the inbox was broken with.
func (b *inbox) send(g *group, from int, tag uint64, eager int, bufs [][]byte) error {
	o := g.start(b, key{from, tag}, sending, bufs)
	b.mu.Lock()
	if err := b.refusesSend(from); err != nil {
		b.mu.Unlock()
		return err
	}
	if l := b.lines[o.key]; l != nil && l.head.side == receiving {
		return b.deliver(l.head, o)
	}
	if b.buffers(o, eager) {
		b.buffer(o)
	} else {
		g.pending.Add(1)
		b.push(o)
	}
	b.mu.Unlock()
	return nil
}

// recv starts receiving the next message of rank from under tag, as the next operation of g, into
// bufs, which are the inbox's until the operation is done or taken back. An error means that the
// operation was not started: [transport.ErrClosed] where the owner has closed,
// [transport.ErrPeerClosed] where the sender has and nothing of it is left,
// [transport.ErrTruncated] where the message is too long, which stays; or what the inbox was broken
// with.
func (b *inbox) recv(g *group, from int, tag uint64, bufs [][]byte) error {
	o := g.start(b, key{from, tag}, receiving, bufs)
	b.mu.Lock()
	if err := b.refusesRecv(); err != nil {
		b.mu.Unlock()
		return err
	}
	if l := b.lines[o.key]; l != nil && l.head.side != receiving {
		return b.consume(l.head, o)
	}
	if b.left[from] {
		b.mu.Unlock()
		return transport.ErrPeerClosed
	}
	g.pending.Add(1)
	b.push(o)
	b.mu.Unlock()
	return nil
}

// deliver hands the message s, which has just come, to the posted receive r. It unlocks the inbox.
func (b *inbox) deliver(r, s *op) error {
	if s.size > r.size {
		b.mu.Unlock()
		return transport.ErrTruncated
	}
	b.unlink(r)
	b.mu.Unlock()
	r.n = rows.CopyAll(r.bufs, s.bufs)
	r.finish(nil)
	return nil
}

// consume hands the waiting message s to the receive r, which has just come. It unlocks the inbox.
func (b *inbox) consume(s, r *op) error {
	if s.size > r.size {
		b.mu.Unlock()
		return transport.ErrTruncated
	}
	b.unlink(s)
	if s.side == buffered {
		// A buffered message is short: copying it under the lock is cheaper than taking the lock again.
		r.n = rows.Spread(r.bufs, s.store)
		b.release(s)
		b.mu.Unlock()
		return nil
	}
	b.mu.Unlock()
	r.n = rows.CopyAll(r.bufs, s.bufs)
	s.finish(nil)
	return nil
}

// buffers tells whether a message that nobody has asked for is copied into the inbox rather than
// made to wait.
func (b *inbox) buffers(o *op, eager int) bool {
	from := o.key.from
	return from == b.owner || o.size <= eager && b.held[from]+o.size+overhead <= b.limit
}

// buffer copies the message o into the inbox and queues the copy.
func (b *inbox) buffer(o *op) {
	var m *op
	if last := len(b.spare) - 1; last >= 0 {
		m, b.spare = b.spare[last], b.spare[:last]
		b.idling -= cap(m.store)
	} else {
		m = new(op)
	}
	m.side, m.key, m.size = buffered, o.key, o.size
	for _, buf := range o.bufs {
		m.store = append(m.store, buf...)
	}
	b.held[o.key.from] += o.size + overhead
	b.push(m)
}

// release gives back what the buffered message m, no longer queued, takes up.
func (b *inbox) release(m *op) {
	b.held[m.key.from] -= m.size + overhead
	if len(b.spare) < spareOps && b.idling+cap(m.store) <= spareBytes {
		b.idling += cap(m.store)
		m.store = m.store[:0]
		b.spare = append(b.spare, m)
	}
}
