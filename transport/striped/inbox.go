package striped

import (
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/tagqueue"
)

// inbox matches the messages of one peer with receives. Messages are announced in the order of
// their numbers, each by the first of its stripes to arrive, and are matched in that order.
type inbox struct {
	t    *Transport
	peer transport.Rank

	mu      sync.Mutex
	changed sync.Cond // next has grown, a message has got its memory, or the transport is unusable
	next    uint64    // number of the next message to be announced
	open    map[uint64]*inbound
	arrived tagqueue.Queue[inbound]
	posted  tagqueue.Queue[receive]

	held  int // bytes of unexpected messages, overhead included
	links int // links that a frame may still arrive on
	ended bool
	final uint64 // the number of messages, once ended
}

func newInbox(t *Transport, peer transport.Rank) *inbox {
	b := &inbox{
		t: t, peer: peer, links: len(t.links),
		open: make(map[uint64]*inbound),
	}
	b.changed.L = &b.mu
	return b
}

// receive is a posted receive. All but done is guarded by the inbox's lock.
type receive struct {
	b    *inbox
	tag  transport.Tag
	bufs [][]byte
	room int
	msg  *inbound      // the message that it has been matched with
	done chan struct{} // gets a value when msg is whole
}

// post posts a receive of the next message under tag.
func (b *inbox) post(tag transport.Tag, bufs [][]byte) (*receive, *fault) {
	r := &receive{b: b, tag: tag, bufs: bufs, room: rows.SizeOf(bufs), done: make(chan struct{}, 1)}
	b.mu.Lock()
	if m := b.arrived.Pop(tag); m != nil {
		err := b.match(m, r)
		b.mu.Unlock()
		if err != nil {
			return nil, b.t.fail(b.peer, err)
		}
		return r, nil
	}
	b.posted.Push(tag, r)
	err := b.exhausted()
	b.mu.Unlock()
	if err != nil {
		return nil, b.t.fail(b.peer, err)
	}
	return r, nil
}

// match gives r the message m, which may be whole already. mu is held.
func (b *inbox) match(m *inbound, r *receive) error {
	if m.shape.total > r.room {
		m.abandoned = true
		return fmt.Errorf("message %d, tag %#x, of %d bytes into %d: %w",
			m.number, uint64(r.tag), m.shape.total, r.room, transport.ErrTruncated)
	}
	r.msg, m.taker = m, r
	if !m.hasMemory {
		m.setMemory(r.bufs)
		b.changed.Broadcast()
	}
	if m.left == 0 {
		r.done <- struct{}{}
	}
	return nil
}

// announce enters the message whose first stripe has the header h. mu is held.
func (b *inbox) announce(h *header, s shape) (*inbound, error) {
	m := newInbound(h.message, h.tag, s)
	b.next++
	b.open[m.number] = m
	b.changed.Broadcast()
	r := b.posted.Pop(m.tag)
	if r == nil {
		b.arrived.Push(m.tag, m)
		return m, nil
	}
	return m, b.match(m, r)
}

// admit gives m memory of its own if there is room for it. mu is held.
func (b *inbox) admit(m *inbound) bool {
	if m.shape.total > b.t.cfg.MaxUnexpectedBytes-b.held-stripeOverhead && b.peer != b.t.rank {
		return false
	}
	b.held += m.shape.total + stripeOverhead
	m.store = make([]byte, m.shape.total)
	m.setMemory([][]byte{m.store})
	return true
}

// whole completes the receive of a message, if there is one. mu is held.
func (b *inbox) whole(m *inbound) {
	delete(b.open, m.number)
	if m.taker != nil {
		m.taker.done <- struct{}{}
	}
}

// finish returns the length of r's message, after a value has come from r.done.
func (r *receive) finish() int {
	b, m := r.b, r.msg
	if m.store != nil {
		to := newSpans(r.bufs)
		to.write(0, m.store)
		b.mu.Lock()
		b.held -= m.shape.total + stripeOverhead
		b.changed.Broadcast()
		b.mu.Unlock()
	}
	return m.shape.total
}

// withdraw withdraws r, and waits until no goroutine writes into its buffers. begun says that a
// part of its message has arrived, whole that all has, perhaps while it waited; then r is not
// withdrawn.
func (r *receive) withdraw() (begun, whole bool) {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	m := r.msg
	if m == nil {
		b.posted.Remove(r.tag, r)
		return false, false
	}
	m.abandoned = true
	b.changed.Broadcast()
	for m.writers > 0 {
		b.changed.Wait()
	}
	return true, m.left == 0
}

// deliverSelf takes a message of this rank to itself, whole.
func (b *inbox) deliverSelf(tag transport.Tag, bufs [][]byte) error {
	s := shape{total: rows.SizeOf(bufs), k: 1, stripe: max(1, rows.SizeOf(bufs))}
	b.mu.Lock()
	defer b.mu.Unlock()
	m, err := b.announce(&header{message: b.next, tag: tag}, s)
	if err != nil {
		return err
	}
	if !m.hasMemory {
		b.admit(m)
	}
	at := 0
	for _, buf := range bufs {
		m.to.write(at, buf)
		at += len(buf)
	}
	m.left = 0
	b.whole(m)
	return nil
}
