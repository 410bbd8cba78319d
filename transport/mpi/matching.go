package mpi

import (
	"runtime"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// peer is the state of one rank. All of it is guarded by Transport.mu.
type peer struct {
	rank transport.Rank
	gone time.Time // when its farewell arrived; zero before

	posted  receiveList
	arrived map[transport.Tag]messageQueue
	held    int // bytes of short messages that are kept
	owed    int // bytes of room that have not been given back to it

	room   int    // bytes of short messages that it still keeps for us
	lastID uint64 // of the transfers announced to it
}

// message is one that arrived, or was announced, before its receive was posted.
type message struct {
	next  *message
	tag   transport.Tag
	bytes int
	id    uint64 // of the first transfer of an announced message; 0 if store holds it
	store []byte
}

// messageOverhead is what a short message counts beyond its bytes, so that empty ones are bounded
// too.
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

// pushFront puts back the receive that was first.
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

// keep queues an unexpected message.
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

// next removes and returns the first unexpected message of tag, or nil.
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
