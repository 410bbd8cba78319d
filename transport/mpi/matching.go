package mpi

import (
	"runtime"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// peer is what this rank knows of one rank. All of it is guarded by Transport.mu.
type peer struct {
	rank transport.Rank
	gone time.Time // when it said farewell; zero before

	posted  receiveList
	arrived map[transport.Tag]messageQueue
	held    int // bytes of short messages that are kept
	owed    int // bytes of room that it has not been told of

	room   int    // bytes of short messages that it still keeps for us
	lastID uint64 // of the transfers announced to it
}

// message is one that came, or was announced, before anybody asked for it.
type message struct {
	next  *message
	tag   transport.Tag
	bytes int
	id    uint64 // of the first transfer of an announced message; 0 where store holds it
	store []byte
}

// messageOverhead is what a short message costs of its receiver's room beyond its bytes, so that
// empty ones are bounded too.
const messageOverhead = 64

// receive is one message that a call waits for.
type receive struct {
	call       *call
	peer       *peer
	tag        transport.Tag
	bufs       [][]byte
	room       int
	n          int
	id         uint64 // of the first transfer of the announced message
	transfers  int    // that MPI has not ended
	state      recvState
	pin        *runtime.Pinner
	prev, next *receive
}

type recvState uint8

const (
	recvIdle   recvState = iota
	recvPosted           // in the peer's list
	recvMoving           // MPI has it, or is about to
	recvDone
)

// receiveList holds posted receives in order.
type receiveList struct{ head, tail *receive }

func (l *receiveList) push(r *receive) {
	r.prev, r.next, r.state = l.tail, nil, recvPosted
	if l.tail == nil {
		l.head = r
	} else {
		l.tail.next = r
	}
	l.tail = r
}

// pushFront puts back what had been first.
func (l *receiveList) pushFront(r *receive) {
	r.prev, r.next, r.state = nil, l.head, recvPosted
	if l.head == nil {
		l.tail = r
	} else {
		l.head.prev = r
	}
	l.head = r
}

func (l *receiveList) remove(r *receive) {
	if r.prev == nil {
		l.head = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		l.tail = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.prev, r.next, r.state = nil, nil, recvIdle
}

// take removes and returns the first receive of tag, or nil.
func (l *receiveList) take(tag transport.Tag) *receive {
	for r := l.head; r != nil; r = r.next {
		if r.tag == tag {
			l.remove(r)
			return r
		}
	}
	return nil
}

type messageQueue struct{ head, tail *message }

// keep queues a message that nobody has asked for.
func (p *peer) keep(m *message) {
	if p.arrived == nil {
		p.arrived = make(map[transport.Tag]messageQueue)
	}
	q := p.arrived[m.tag]
	if q.tail == nil {
		q.head = m
	} else {
		q.tail.next = m
	}
	q.tail = m
	p.arrived[m.tag] = q
}

// next removes and returns the first message of tag that has come, or nil.
func (p *peer) next(tag transport.Tag) *message {
	q := p.arrived[tag]
	m := q.head
	if m == nil {
		return nil
	}
	if q.head = m.next; q.head == nil {
		delete(p.arrived, tag)
	} else {
		p.arrived[tag] = q
	}
	m.next = nil
	return m
}

// copyAll copies the concatenation of src over dst, which has room for it. The two may be cut at
// different places.
func copyAll(dst, src [][]byte) {
	at := 0
	for _, s := range src {
		for len(s) > 0 {
			for at == len(dst[0]) {
				dst, at = dst[1:], 0
			}
			n := copy(dst[0][at:], s)
			s, at = s[n:], at+n
		}
	}
}

// spread copies src over dst, which has room for it.
func spread(dst [][]byte, src []byte) {
	for _, d := range dst {
		src = src[copy(d, src):]
	}
}

// gather copies src to the start of dst, which has room for it.
func gather(dst []byte, src [][]byte) {
	for _, s := range src {
		dst = dst[copy(dst, s):]
	}
}

// total is the number of bytes in bufs.
func total(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return n
}
