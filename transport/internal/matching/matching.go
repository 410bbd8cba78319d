// Package matching matches the messages that are sent to one rank with the receives that it posts.
//
// A [Queue] stands on the receiver's side and is shared by all who send to it, as goroutines of one
// process. It holds, for each sender and tag, one line: either of receives that wait for a message,
// or of messages that wait for a receive. The one that comes second copies, straight from the
// sender's buffers into the receiver's, outside the queue's lock; only short messages that nobody
// has asked for are copied twice, by way of the queue, so that their sender need not wait. A
// [Group] is what a caller waits for: one operation or many.
//
// Nothing here starts a goroutine, and nothing allocates once the lines, groups and buffers of a
// steady traffic have been made.
package matching

import (
	"sync"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// overhead is what a message buffered in the queue is charged beyond its bytes, so that empty
	// messages are bounded too.
	overhead = 64
	// spareOps and spareBytes bound the emptied buffers that a queue keeps to use again.
	spareOps, spareBytes = 1024, 1 << 20
)

// Queue is where the messages to one rank wait. Its methods may be called by any number of
// goroutines.
type Queue struct {
	owner int
	limit int

	mu     sync.Mutex
	lines  map[key]*line
	idle   *line  // emptied lines, to be used again
	spare  []*op  // emptied messages, whose store is used again
	idling int    // bytes of their stores
	held   []int  // bytes buffered in the queue, by sender
	left   []bool // senders that have closed
	closed bool   // the owner has closed
	broken error  // what every operation fails with, once set
}

// New returns the queue of rank owner in a job of ranks, which keeps at most limit bytes of each
// sender's messages that nobody has asked for. What the owner sends to itself is buffered without
// limit.
func New(owner, ranks, limit int) *Queue {
	return &Queue{
		owner: owner,
		limit: limit,
		lines: make(map[key]*line),
		held:  make([]int, ranks),
		left:  make([]bool, ranks),
	}
}

// Send starts sending the concatenation of bufs as the next operation of g. If no receive is posted
// and the message is no longer than eager, and fits in the queue, it is buffered there and the
// operation is done. Otherwise bufs are the queue's until the operation is done or taken back.
//
// An error means that the operation was not started: [transport.ErrClosed] where the sender has
// closed, [transport.ErrPeerClosed] where the owner has, [transport.ErrTruncated] where the receive
// is too short, which stays posted; or what the queue was broken with.
func (q *Queue) Send(g *Group, from int, tag uint64, eager int, bufs [][]byte) error {
	o := g.start(q, key{from, tag}, sending, bufs)
	q.mu.Lock()
	if err := q.refusesSend(from); err != nil {
		q.mu.Unlock()
		return err
	}
	if l := q.lines[o.key]; l != nil && l.head.side == receiving {
		return q.deliver(l.head, o)
	}
	if q.buffers(o, eager) {
		q.buffer(o)
	} else {
		g.pending.Add(1)
		q.push(o)
	}
	q.mu.Unlock()
	return nil
}

// Recv starts receiving the next message of rank from under tag, as the next operation of g, into
// bufs, which are the queue's until the operation is done or taken back. An error means that the
// operation was not started: [transport.ErrClosed] where the owner has closed,
// [transport.ErrPeerClosed] where the sender has and nothing of it is left,
// [transport.ErrTruncated] where the message is too long, which stays; or what the queue was broken
// with.
func (q *Queue) Recv(g *Group, from int, tag uint64, bufs [][]byte) error {
	o := g.start(q, key{from, tag}, receiving, bufs)
	q.mu.Lock()
	if err := q.refusesRecv(); err != nil {
		q.mu.Unlock()
		return err
	}
	if l := q.lines[o.key]; l != nil && l.head.side != receiving {
		return q.consume(l.head, o)
	}
	if q.left[from] {
		q.mu.Unlock()
		return transport.ErrPeerClosed
	}
	g.pending.Add(1)
	q.push(o)
	q.mu.Unlock()
	return nil
}

// deliver hands the message s, which has just come, to the posted receive r. It unlocks the queue.
func (q *Queue) deliver(r, s *op) error {
	if s.size > r.size {
		q.mu.Unlock()
		return transport.ErrTruncated
	}
	q.unlink(r)
	q.mu.Unlock()
	r.n = rows.CopyAll(r.bufs, s.bufs)
	r.finish(nil)
	return nil
}

// consume hands the waiting message s to the receive r, which has just come. It unlocks the queue.
func (q *Queue) consume(s, r *op) error {
	if s.size > r.size {
		q.mu.Unlock()
		return transport.ErrTruncated
	}
	q.unlink(s)
	if s.side == buffered {
		// A buffered message is short: copying it under the lock is cheaper than taking the lock again.
		r.n = rows.Spread(r.bufs, s.store)
		q.release(s)
		q.mu.Unlock()
		return nil
	}
	q.mu.Unlock()
	r.n = rows.CopyAll(r.bufs, s.bufs)
	s.finish(nil)
	return nil
}

// buffers tells whether a message that nobody has asked for is copied into the queue rather than
// made to wait.
func (q *Queue) buffers(o *op, eager int) bool {
	from := o.key.from
	return from == q.owner || o.size <= eager && q.held[from]+o.size+overhead <= q.limit
}

// buffer copies the message o into the queue and queues the copy.
func (q *Queue) buffer(o *op) {
	var m *op
	if last := len(q.spare) - 1; last >= 0 {
		m, q.spare = q.spare[last], q.spare[:last]
		q.idling -= cap(m.store)
	} else {
		m = new(op)
	}
	m.side, m.key, m.size = buffered, o.key, o.size
	for _, buf := range o.bufs {
		m.store = append(m.store, buf...)
	}
	q.held[o.key.from] += o.size + overhead
	q.push(m)
}

// release gives back what the buffered message m, no longer queued, takes up.
func (q *Queue) release(m *op) {
	q.held[m.key.from] -= m.size + overhead
	if len(q.spare) < spareOps && q.idling+cap(m.store) <= spareBytes {
		q.idling += cap(m.store)
		m.store = m.store[:0]
		q.spare = append(q.spare, m)
	}
}
