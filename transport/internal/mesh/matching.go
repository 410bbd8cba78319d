package mesh

import (
	"sync"
	"sync/atomic"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/matching"
)

// waiter is one posted receive.
type waiter struct {
	source  *source
	tag     transport.Tag
	bufs    [][]byte
	room    int
	n       int  // the message's length, once it has begun
	started bool // guarded by matcher.mu: its message has begun
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
	tag      transport.Tag
	total    int      // the length announced
	chunks   [][]byte // what has come: the payload of one frame each
	complete bool
	taker    *waiter // the receive that asked for it while it was still coming
}

// messageOverhead is what an unexpected message counts beyond its bytes, so that empty ones are
// bounded too.
const messageOverhead = 128

// matcher pairs what arrives from one peer with the receives that ask for it. A message that was
// not asked for is kept from when it begins to come; a receive that asks for it before it is whole
// becomes its taker.
type matcher struct {
	mu      sync.Mutex
	pairs   matching.Matcher[message, waiter] // holds the bytes of unexpected messages
	stalled bool                              // the stream is not read because the limit is reached
	spare   sparePool
}

// admit reserves room for n more unexpected bytes, or reports that the bound is reached. mu is
// held.
func (m *matcher) admit(n int) bool {
	if m.pairs.Hold(n) {
		return true
	}
	m.stalled = true
	return false
}

// post asks for the next message of w's tag. It returns the message if that is here already, whole
// and removed from what is kept, for the caller to copy. The error says that it does not fit.
func (m *matcher) post(w *waiter) (whole *message, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	msg, err := m.pairs.Post(w.tag, w.room, w)
	if msg == nil {
		return nil, nil
	}
	w.n, w.started = msg.total, true
	switch {
	case err != nil:
		return nil, err
	case !msg.complete:
		msg.taker = w
		return nil, nil
	}
	return msg, nil
}

// claim gives a message of total bytes, which begins to come, to the first receive of its tag, and
// returns that, or nil. The error says that it does not fit; no other message can have w then. mu
// is held.
func (m *matcher) claim(tag transport.Tag, total int) (w *waiter, err error) {
	w, err = m.pairs.Arrive(tag, total)
	if w == nil {
		return nil, nil
	}
	if err != nil {
		m.pairs.Withdraw(tag, w)
	}
	w.started, w.n = true, total
	return w, err
}

// free returns the memory of a message that has been copied out, and reports whether reading,
// stopped for want of room, may go on.
func (m *matcher) free(msg *message) (resume bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pairs.Release(messageOverhead + rows.SizeOf(msg.chunks))
	m.spare.put(msg)
	resume, m.stalled = m.stalled, false
	return resume
}

// withdraw takes back a waiter that nothing has come for, and reports whether that was so.
func (m *matcher) withdraw(w *waiter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !w.started && m.pairs.Withdraw(w.tag, w)
}

// wake wakes the operations that wait for this peer: the one that posted first, which takes up the
// reading, or all.
func (m *matcher) wake(all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !all {
		m.pairs.Oldest().wake()
		return
	}
	for w := range m.pairs.Receives() {
		w.wake()
	}
}

// wake wakes the operation that posted w, unless w is nil.
func (w *waiter) wake() {
	if w != nil {
		w.source.op.Wake()
	}
}

// wakeFor wakes the operation that has asked for the message that the stream is stalled at.
func (m *matcher) wakeFor(tag transport.Tag, msg *message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if msg != nil && msg.taker != nil {
		msg.taker.wake()
		return
	}
	m.pairs.Expecting(tag).wake()
}

// copyTo spreads the message over w's buffers.
func (msg *message) copyTo(w *waiter) cursor {
	at := cursor{bufs: w.bufs}
	for _, c := range msg.chunks {
		at.fill(c)
	}
	return at
}
