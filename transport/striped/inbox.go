package striped

import (
	"fmt"
	"math"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/matching"
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
	// The bytes that are held are those of unexpected messages, overhead included.
	matching.Matcher[inbound, receive]

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
	b.SetLimit(t.cfg.MaxUnexpectedBytes)
	if peer == t.rank {
		b.SetLimit(math.MaxInt)
	}
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
	if err := b.place(r); err != nil {
		return nil, b.t.fail(b.peer, err)
	}
	return r, nil
}

// place matches r with a message that has been announced, or posts it.
func (b *inbox) place(r *receive) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, err := b.Post(r.tag, r.room, r)
	if m == nil {
		return b.exhausted()
	}
	return b.match(m, r, err)
}

// match gives r the message m, which may be whole already, unless misfit says that r has no room
// for it. mu is held.
func (b *inbox) match(m *inbound, r *receive, misfit error) error {
	if misfit != nil {
		m.abandoned = true
		return fmt.Errorf("message %d: %w", m.number, misfit)
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
	r, err := b.Arrive(m.tag, s.total)
	if r == nil {
		b.Keep(m.tag, s.total, m)
		return m, nil
	}
	return m, b.match(m, r, err)
}

// admit gives m memory of its own if there is room for it. mu is held.
func (b *inbox) admit(m *inbound) bool {
	if !b.Hold(m.shape.total + stripeOverhead) {
		return false
	}
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
		b.Release(m.shape.total + stripeOverhead)
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
		b.Withdraw(r.tag, r)
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
