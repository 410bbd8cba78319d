// Package mailbox matches the messages that are sent to one rank with the receives that it posts.
//
// A [Box] stands on the receiver's side and is shared by all who send to it, as goroutines of one process. It
// holds, for each sender and tag, one queue: either of receives that wait for a message, or of messages that
// wait for a receive. Whoever comes second does the copying, straight from the sender's buffers into the
// receiver's, outside the box's lock; only short messages that nobody has asked for are copied twice, by way of
// the box, so that their sender need not wait. A [Group] is what a caller waits for: one operation or many.
//
// Nothing here starts a goroutine, and nothing allocates once the queues, groups and buffers of a steady
// traffic have been made.
package mailbox

import (
	"sync"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// overhead is what a message kept in the box is charged beyond its bytes, so that empty messages are bounded too.
	overhead = 64
	// spareOps and spareBytes bound the emptied buffers that a box keeps to use again.
	spareOps, spareBytes = 1024, 1 << 20
)

// Box is where the messages to one rank wait. Its methods may be called by any number of goroutines.
type Box struct {
	owner int
	limit int

	mu     sync.Mutex
	queues map[key]*queue
	idle   *queue // emptied queues, to be used again
	spare  []*op  // emptied messages, whose store is used again
	idling int    // bytes of their stores
	held   []int  // bytes kept in the box, by sender
	left   []bool // senders that have closed
	closed bool   // the owner has closed
	broken error  // what every operation fails with, once set
}

// New returns the box of rank owner in a job of ranks, which keeps at most limit bytes of each sender's
// messages that nobody has asked for. What the owner sends to itself is kept without limit.
func New(owner, ranks, limit int) *Box {
	return &Box{
		owner:  owner,
		limit:  limit,
		queues: make(map[key]*queue),
		held:   make([]int, ranks),
		left:   make([]bool, ranks),
	}
}

// Send starts sending the concatenation of bufs as the next operation of g. If no receive is posted and the
// message is no longer than eager, and fits in the box, it is kept there and the operation is done. Otherwise bufs
// are the box's until the operation is done or taken back.
//
// An error means that the operation was not started: [transport.ErrClosed] where the sender has closed,
// [transport.ErrPeerClosed] where the owner has, [transport.ErrTruncated] where the receive is too short, which
// stays posted; or what the box was broken with.
func (b *Box) Send(g *Group, from int, tag uint64, eager int, bufs [][]byte) error {
	o := g.start(b, key{from, tag}, sending, bufs)
	b.mu.Lock()
	if err := b.refusesSend(from); err != nil {
		b.mu.Unlock()
		return err
	}
	if q := b.queues[o.key]; q != nil && q.head.side == receiving {
		return b.fill(q.head, o)
	}
	if b.keeps(o, eager) {
		b.keep(o)
	} else {
		g.pending.Add(1)
		b.push(o)
	}
	b.mu.Unlock()
	return nil
}

// Recv starts receiving the next message of rank from under tag, as the next operation of g, into bufs, which
// are the box's until the operation is done or taken back. An error means that the operation was not started:
// [transport.ErrClosed] where the owner has closed, [transport.ErrPeerClosed] where the sender has and nothing of
// it is left, [transport.ErrTruncated] where the message is too long, which stays; or what the box was broken with.
func (b *Box) Recv(g *Group, from int, tag uint64, bufs [][]byte) error {
	o := g.start(b, key{from, tag}, receiving, bufs)
	b.mu.Lock()
	if err := b.refusesRecv(); err != nil {
		b.mu.Unlock()
		return err
	}
	if q := b.queues[o.key]; q != nil && q.head.side != receiving {
		return b.empty(q.head, o)
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

// fill hands the message s, which has just come, to the posted receive r. It unlocks the box.
func (b *Box) fill(r, s *op) error {
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

// empty hands the waiting message s to the receive r, which has just come. It unlocks the box.
func (b *Box) empty(s, r *op) error {
	if s.size > r.size {
		b.mu.Unlock()
		return transport.ErrTruncated
	}
	b.unlink(s)
	if s.side == kept {
		// A kept message is short: copying it under the lock is cheaper than taking the lock again.
		r.n = spread(r.bufs, s.store)
		b.release(s)
		b.mu.Unlock()
		return nil
	}
	b.mu.Unlock()
	r.n = rows.CopyAll(r.bufs, s.bufs)
	s.finish(nil)
	return nil
}

// keeps tells whether a message that nobody has asked for is copied into the box rather than made to wait.
func (b *Box) keeps(o *op, eager int) bool {
	from := o.key.from
	return from == b.owner || o.size <= eager && b.held[from]+o.size+overhead <= b.limit
}

// keep copies the message o into the box and queues the copy.
func (b *Box) keep(o *op) {
	var m *op
	if last := len(b.spare) - 1; last >= 0 {
		m, b.spare = b.spare[last], b.spare[:last]
		b.idling -= cap(m.store)
	} else {
		m = new(op)
	}
	m.side, m.key, m.size = kept, o.key, o.size
	for _, buf := range o.bufs {
		m.store = append(m.store, buf...)
	}
	b.held[o.key.from] += o.size + overhead
	b.push(m)
}

// release gives back what the kept message m, no longer queued, takes up.
func (b *Box) release(m *op) {
	b.held[m.key.from] -= m.size + overhead
	if len(b.spare) < spareOps && b.idling+cap(m.store) <= spareBytes {
		b.idling += cap(m.store)
		m.store = m.store[:0]
		b.spare = append(b.spare, m)
	}
}
