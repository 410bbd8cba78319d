package mesh

import (
	"sync"
	"sync/atomic"

	"github.com/switchyard-moe/switchyard/transport"
)

// waiter is one posted receive.
type waiter struct {
	next    *waiter // the one posted after it
	source  *source
	tag     transport.Tag
	bufs    [][]byte
	room    int
	n       int  // the message's length, once it has begun
	started bool // guarded by matching.mu: it has left the posted list
	done    atomic.Bool
}

// complete hands the waiter back to the operation that posted it. The caller must not touch w
// afterwards.
func (w *waiter) complete() {
	s := w.source
	op := s.op // read first: after the last message is counted the operation may end and s be reused
	w.done.Store(true)
	if s.pending.Add(-1) == 0 && op.unreceived.Add(-1) == 0 {
		op.Wake()
	}
}

// message is one that came, or began to come, before any receive asked for it.
type message struct {
	next     *message
	tag      transport.Tag
	total    int      // the length announced
	chunks   [][]byte // what has come: the payload of one frame each
	complete bool
	taker    *waiter // the receive that asked for it while it was still coming
}

// messageOverhead is what an unexpected message counts beyond its bytes, so that empty ones are
// bounded too.
const messageOverhead = 128

// matching pairs what arrives from one peer with the receives that ask for it. Messages of one tag
// form a queue in order of arrival, of which only the last can be incomplete; waiters form one list
// in order of posting.
type matching struct {
	mu      sync.Mutex
	posted  waiterList
	arrived map[transport.Tag]messageQueue
	held    int // bytes of unexpected messages, overhead included
	limit   int
	stalled bool // the stream is not read because limit is reached
	spare   sparePool
}

type waiterList struct{ head, tail *waiter }

type messageQueue struct{ head, tail *message }

func (l *waiterList) push(w *waiter) {
	w.next = nil
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
}

// remove takes w out, and reports whether it was in.
func (l *waiterList) remove(w *waiter) bool {
	for at, prev := l.head, (*waiter)(nil); at != nil; prev, at = at, at.next {
		if at == w {
			l.unlink(prev, at)
			return true
		}
	}
	return false
}

// take removes and returns the first waiter for tag, or nil.
func (l *waiterList) take(tag transport.Tag) *waiter {
	for at, prev := l.head, (*waiter)(nil); at != nil; prev, at = at, at.next {
		if at.tag == tag {
			l.unlink(prev, at)
			return at
		}
	}
	return nil
}

func (l *waiterList) unlink(prev, w *waiter) {
	if prev == nil {
		l.head = w.next
	} else {
		prev.next = w.next
	}
	if l.tail == w {
		l.tail = prev
	}
	w.next = nil
}

// enqueue adds an unexpected message. mu is held.
func (m *matching) enqueue(msg *message) {
	if m.arrived == nil {
		m.arrived = make(map[transport.Tag]messageQueue)
	}
	q := m.arrived[msg.tag]
	if q.tail == nil {
		q.head = msg
	} else {
		q.tail.next = msg
	}
	q.tail = msg
	m.arrived[msg.tag] = q
}

// dequeue removes the head of msg's queue, which is msg. mu is held.
func (m *matching) dequeue(msg *message) {
	q := m.arrived[msg.tag]
	if q.head = msg.next; q.head == nil {
		delete(m.arrived, msg.tag)
		return
	}
	m.arrived[msg.tag] = q
}

// admit reserves room for n more unexpected bytes, or reports that the bound is reached. mu is
// held.
func (m *matching) admit(n int) bool {
	if m.held+n > m.limit {
		m.stalled = true
		return false
	}
	m.held += n
	return true
}

// post asks for the next message of w's tag. It returns the message if that is here already, whole
// and removed from the queue, for the caller to copy. truncated reports that it does not fit.
func (m *matching) post(w *waiter) (whole *message, truncated bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	msg := m.arrived[w.tag].head
	if msg == nil || msg.taker != nil {
		m.posted.push(w)
		return nil, false
	}
	w.n, w.started = msg.total, true
	if msg.total > w.room {
		return nil, true
	}
	if !msg.complete {
		msg.taker = w
		return nil, false
	}
	m.dequeue(msg)
	return msg, false
}

// free returns the memory of a message that has been copied out, and reports whether reading,
// stopped for want of room, may go on.
func (m *matching) free(msg *message) (resume bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held -= messageOverhead
	for _, c := range msg.chunks {
		m.held -= len(c)
	}
	m.spare.put(msg)
	resume, m.stalled = m.stalled, false
	return resume
}

// withdraw takes back a waiter that nothing has come for, and reports whether that was so.
func (m *matching) withdraw(w *waiter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !w.started && m.posted.remove(w)
}

// wake wakes the operations that wait for this peer: the first, which takes up the reading, or all.
func (m *matching) wake(all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := m.posted.head; w != nil; w = w.next {
		w.source.op.Wake()
		if !all {
			return
		}
	}
}

// wakeFor wakes the operation that has asked for the message that the stream is stalled at.
func (m *matching) wakeFor(tag transport.Tag, msg *message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if msg != nil && msg.taker != nil {
		msg.taker.source.op.Wake()
		return
	}
	for w := m.posted.head; w != nil; w = w.next {
		if w.tag == tag {
			w.source.op.Wake()
			return
		}
	}
}

// copyTo spreads the message over w's buffers.
func (msg *message) copyTo(w *waiter) cursor {
	at := cursor{bufs: w.bufs}
	for _, c := range msg.chunks {
		at.fill(c)
	}
	return at
}
