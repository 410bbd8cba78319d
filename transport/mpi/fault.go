package mpi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// failedGrace is how long a failed call waits until MPI has released its buffers and sent the
	// notices to the peers. cancelledGrace is how long a call whose context has ended waits for
	// messages that MPI is moving.
	failedGrace, cancelledGrace = 250 * time.Millisecond, 100 * time.Millisecond
	// goneGrace is how long a message to a peer that has closed may still take.
	goneGrace = 250 * time.Millisecond
)

// fail breaks the transport for good, unless it is broken already, and sends all peers a notice
// before any call returns.
func (t *Transport) fail(rank transport.Rank, err error) {
	if t.fault != nil {
		return
	}
	t.fault = &fault{rank, err}
	t.purge()
	if !t.closed {
		t.cfg.Log.Warn("transport broken", "rank", t.rank, "culprit", rank, "err", err)
		h, text := t.fault.notice()
		t.notifyAll(h, text)
	}
	t.calls.wakeAll()
	t.nudge()
}

// notifyAll sends a notice to every peer; those that have closed still wait for farewells.
func (t *Transport) notifyAll(h header, text []byte) {
	for _, p := range t.peers {
		if p.rank != t.rank && (h.kind == kindFarewell || p.gone.IsZero()) {
			t.notices++
			t.work.push(task{frame: true, peer: p, header: h, reason: text})
		}
	}
}

// purge drops the tasks that have not been started and are not notices.
func (t *Transport) purge() {
	t.work.filter(func(k *task) bool { return k.frame && k.kind >= kindAbort })
}

// reclaim cancels the receiving transfers of failed calls. Only the driver may call it.
func (t *Transport) reclaim() {
	for id := range t.requests {
		if t.requests[id].r != nil {
			t.takeBack(int32(id)) // what is not cancelled will be completed
		}
	}
}

// interrupted reports whether c ends because its context or its time has ended, and how.
func (t *Transport) interrupted(ctx context.Context, c *call) (bool, *fault) {
	if c.condition != nil {
		return false, nil
	}
	rank := c.awaited()
	switch waited := time.Since(c.since); {
	case c.since.IsZero():
	case t.cfg.OpTimeout > 0 && waited > t.cfg.OpTimeout:
		t.fail(transport.Overdue(t.program, rank, t.cfg.OpTimeout))
		return false, nil
	case c.abandoned():
		t.fail(rank, transport.ErrPeerClosed)
		return false, nil
	}
	if ctx.Err() == nil {
		return false, nil
	}
	err := contextError(ctx)
	waiting, moving := c.countLeft()
	switch {
	case moving == 0 && !c.moved:
		c.withdraw()
		return true, &fault{rank, err}
	case waiting == 0 && c.grace.IsZero():
		c.grace = time.Now().Add(cancelledGrace)
		return false, nil
	case waiting == 0 && !past(c.grace):
		return false, nil
	}
	if errors.Is(err, context.Canceled) {
		rank = t.rank // a rank that cancels half a message is to blame
	}
	c.grace = time.Time{}
	t.fail(rank, fmt.Errorf("message half moved: %w", err))
	return false, nil
}

// awaited is the first rank that c still waits for.
func (c *call) awaited() transport.Rank {
	for i := range c.recvs {
		if r := &c.recvs[i]; r.state == recvPosted || r.state == recvMoving {
			return r.peer.rank
		}
	}
	for i := range c.sends {
		if s := &c.sends[i]; s.state != sendDone {
			return s.peer.rank
		}
	}
	return c.t.rank
}

// abandoned reports whether MPI moves a message of c to a peer that has closed, without progress.
func (c *call) abandoned() bool {
	for i := range c.sends {
		s := &c.sends[i]
		if s.state == sendMoving && !s.peer.gone.IsZero() && time.Since(s.peer.gone) > goneGrace {
			return true
		}
	}
	return false
}

// countLeft counts the messages that can be withdrawn, and those that MPI is moving.
func (c *call) countLeft() (waiting, moving int) {
	for i := range c.recvs {
		switch c.recvs[i].state {
		case recvPosted:
			waiting++
		case recvMoving:
			moving++
		}
	}
	for i := range c.sends {
		switch c.sends[i].state {
		case sendQueued:
			waiting++
		case sendMoving:
			moving++
		}
	}
	return waiting, moving
}

// withdraw withdraws every message that MPI is not moving.
func (c *call) withdraw() {
	for i := range c.recvs {
		if r := &c.recvs[i]; r.state == recvPosted {
			r.peer.Withdraw(r.tag, r)
			r.state = recvIdle
		}
	}
	for i := range c.sends {
		c.sends[i].withdraw()
	}
}

func (s *send) withdraw() {
	if s.state != sendQueued {
		return
	}
	s.state = sendDone
	if s.call.t.work.filter(func(k *task) bool { return k.s != s }) > 0 && !s.large() {
		s.peer.room += s.bytes + messageOverhead
	}
}

// released withdraws the rest of a failed call, and reports whether MPI has released its buffers
// and sent the notices. After a grace it no longer waits for MPI: buffers that MPI still has stay
// pinned for good.
func (c *call) released() bool {
	c.withdraw()
	if c.grace.IsZero() {
		c.grace = time.Now().Add(failedGrace)
	}
	held := 0
	for id := range c.t.requests {
		req := &c.t.requests[id]
		switch {
		case req.s != nil && req.s.call == c && req.slot != none:
			req.s = nil // its bytes are in the slot
		case req.s != nil && req.s.call == c, req.r != nil && req.r.call == c:
			held++
		}
	}
	if held+c.t.notices == 0 {
		return true
	}
	over := past(c.grace)
	c.orphaned = held > 0 && over
	return over
}
