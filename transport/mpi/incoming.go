package mpi

import (
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// maxSpare and maxSpareBytes bound the empty messages that are kept for reuse.
const maxSpare, maxSpareBytes = 64, 8 << 10

func (t *Transport) newMessage(tag transport.Tag, bytes int) *message {
	if n := len(t.spare); n > 0 {
		m := t.spare[n-1]
		t.spare = t.spare[:n-1]
		m.tag, m.bytes = tag, bytes
		return m
	}
	return &message{tag: tag, bytes: bytes}
}

// release keeps the memory of a message that has been copied out for reuse.
func (t *Transport) release(m *message) {
	if len(t.spare) < maxSpare && cap(m.store) <= maxSpareBytes {
		*m = message{store: m.store[:0]}
		t.spare = append(t.spare, m)
	}
}

// post posts r, or matches it with the next message of its tag if that has arrived or been
// announced.
func (t *Transport) post(r *receive) *fault {
	p := r.peer
	m, err := p.Post(r.tag, r.room, r)
	switch {
	case err != nil:
		return &fault{p.rank, err}
	case m == nil:
		r.state = recvPosted
		if !p.gone.IsZero() {
			return &fault{p.rank, transport.ErrPeerClosed}
		}
		return nil
	}
	r.n = m.bytes
	if m.id != 0 {
		t.accept(r, m.id)
	} else {
		rows.Spread(r.bufs, m.store)
		if p.rank != t.rank {
			p.Release(m.bytes + messageOverhead)
			t.owe(p, m.bytes)
		}
		r.received()
	}
	t.release(m)
	return nil
}

// accept receives the message that was announced as id.
func (t *Transport) accept(r *receive, id uint64) {
	r.id, r.state = id, recvMoving
	t.work.push(task{peer: r.peer, r: r})
	t.nudge()
}

// owe notes that a short message of p is no longer kept. Its room is given back with the next frame
// to p, or in a frame of its own once it is a quarter of the limit.
func (t *Transport) owe(p *peer, bytes int) {
	const share = 4
	before := p.owed
	p.owed += bytes + messageOverhead
	if limit := t.cfg.MaxUnexpectedBytes / share; before < limit && p.owed >= limit {
		t.work.push(task{frame: true, peer: p, header: header{kind: kindCredit}})
		t.nudge()
	}
}

// frame handles a frame of p.
func (t *Transport) frame(p *peer, b []byte) *fault {
	h, payload, err := parse(b)
	if err != nil {
		return &fault{p.rank, err}
	}
	if p.room += int(h.credit); p.room > t.cfg.MaxUnexpectedBytes {
		return p.broke("gives back %d bytes more than were taken", p.room-t.cfg.MaxUnexpectedBytes)
	}
	switch h.kind {
	case kindEager, kindAnnounce:
		return t.offered(p, h, payload)
	case kindAbort:
		f, err := readNotice(h, payload, p.rank, len(t.peers))
		if err != nil {
			return &fault{p.rank, err}
		}
		return f
	case kindFarewell:
		return t.farewell(p)
	}
	return nil
}

// broke is the fault of a peer that does not keep the protocol.
func (p *peer) broke(format string, args ...any) *fault {
	return &fault{p.rank, fmt.Errorf(format+": %w", append(args, transport.ErrProtocol)...)}
}

// offered matches a message, or the announcement of one, with a posted receive, or keeps it.
func (t *Transport) offered(p *peer, h header, payload []byte) *fault {
	if t.unusable() != nil {
		return nil // calls are ending, and no transfer to their buffers must begin
	}
	n := int(h.bytes)
	if (h.kind == kindAnnounce) != (h.id != 0) {
		return p.broke("message of kind %d with id %d", h.kind, h.id)
	}
	r, err := p.Arrive(h.tag, n)
	switch {
	case err != nil:
		return &fault{p.rank, err}
	case r == nil:
		return t.keep(p, h, payload)
	}
	if r.n = n; h.id != 0 {
		t.accept(r, h.id)
		return nil
	}
	rows.Spread(r.bufs, payload)
	t.owe(p, n)
	r.received()
	return nil
}

// keep keeps a message, or the announcement of one, until it is received.
func (t *Transport) keep(p *peer, h header, payload []byte) *fault {
	m := t.newMessage(h.tag, int(h.bytes))
	if m.id = h.id; m.id == 0 {
		if cost := m.bytes + messageOverhead; !p.Hold(cost) {
			return p.broke("%d bytes of unexpected short messages, limit %d", p.Held()+cost, t.cfg.MaxUnexpectedBytes)
		}
		m.store = append(m.store, payload...)
	}
	p.Keep(m.tag, m.bytes, m)
	return nil
}

// takeBack cancels the receiving request id, and reports whether it was in time. Only the driver
// may call it.
func (t *Transport) takeBack(id int32) bool {
	cancelled, err := t.port.cancel(id)
	if err != nil || !cancelled {
		return false
	}
	if r := t.requests[id].r; r.transfers == 1 {
		r.pin.Unpin()
	}
	t.requests[id].r.transfers--
	t.freeRequest(id)
	return true
}

// farewell notes that p has closed, which is a fault if a receive waits for it. Messages that MPI
// is moving may still complete.
func (t *Transport) farewell(p *peer) *fault {
	p.gone = time.Now()
	if p.Posted() > 0 {
		return &fault{p.rank, transport.ErrPeerClosed}
	}
	return nil
}
