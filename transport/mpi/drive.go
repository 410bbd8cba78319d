package mpi

import (
	"context"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// spinsPerTurn is how often the port polls before the engine checks deadlines, and idleTurns
	// after how many turns without an event a driver pauses.
	spinsPerTurn, idleTurns = 256, 8
	// spinsAfterPause is how often a driver polls between two pauses.
	spinsAfterPause = 2
	// maxBusyTurns is how many turns a driver serves others before it checks its own deadlines.
	maxBusyTurns = 64
)

// wait runs c to its end: as the driver if there is none, else asleep until it is woken. mu is
// held.
func (t *Transport) wait(ctx context.Context, c *call) *fault {
	for turns := 0; ; turns++ {
		if over, f := t.over(c); over {
			return f
		}
		if (c.idle > 0 || turns%maxBusyTurns == maxBusyTurns-1) && t.unusable() == nil {
			if over, f := t.interrupted(ctx, c); over {
				return f
			}
		}
		if t.driver == nil {
			t.driver = c
		}
		if t.driver == c {
			t.drive(ctx, c)
		} else {
			t.pause(ctx, c, t.remaining(c))
		}
	}
}

// over reports whether c has ended, and how.
func (t *Transport) over(c *call) (bool, *fault) {
	if c.condition != nil {
		return c.condition() || past(c.grace), nil
	}
	if c.left == 0 {
		return true, nil
	}
	f := t.unusable()
	if f == nil {
		return false, nil
	}
	return c.released(), f
}

func past(deadline time.Time) bool { return !deadline.IsZero() && time.Now().After(deadline) }

// drive takes one turn, or pauses after many in which nothing happened.
func (t *Transport) drive(ctx context.Context, c *call) {
	if c.idle >= idleTurns && t.work.empty() {
		t.pause(ctx, c, min(max(time.Since(c.since)/pauseShare, minPause), maxPause))
	}
	if t.unusable() != nil {
		t.reclaim()
	}
	t.fill()
	spins := spinsPerTurn
	if c.idle >= idleTurns {
		spins = spinsAfterPause
	}
	patient := t.patient(c)
	t.port.calm()
	t.mu.Unlock()
	err := t.port.turn(t.batch, spins, patient)
	t.mu.Lock()
	if err != nil {
		t.fail(transport.None, err)
	}
	if t.digest() {
		c.idle = 0
		return
	}
	if c.idle++; c.since.IsZero() {
		c.since = time.Now()
	}
}

// patient reports whether a turn for c has no result until a frame or a transfer arrives.
func (t *Transport) patient(c *call) bool {
	return len(t.calls.list) == 1 && c.left > c.staged && t.work.empty() && t.fault == nil && !t.closed
}

// digest handles the events of a turn, and reports whether there were any.
func (t *Transport) digest() bool {
	b := t.batch
	t.frames(true)
	for i := range b.done {
		t.completed(b.done[i])
	}
	t.frames(false)
	return len(b.done)+len(b.arrivals) > 0
}

// frames handles a turn's frames, either the aborts or the others. Aborts come before all other
// events: a message whose sender has failed must not be delivered.
func (t *Transport) frames(aborts bool) {
	for i := range t.batch.arrivals {
		a := &t.batch.arrivals[i]
		b := t.port.inbound(a.slot)[:a.bytes]
		if isAbort(b) != aborts {
			continue
		}
		if f := t.frame(t.peers[a.peer], b); f != nil {
			t.fail(f.rank, f.err)
		}
	}
}

// completed ends a request.
func (t *Transport) completed(d completion) {
	req := t.requests[d.id]
	t.freeRequest(d.id)
	if req.slot != none {
		t.slots = append(t.slots, req.slot)
	}
	if req.notice {
		t.notices--
	}
	if d.code != 0 {
		t.fail(req.culprit(), fmt.Errorf("mpi: %s", t.port.words(d.code)))
	}
	switch {
	case req.s != nil:
		t.sent(&req, d)
	case req.r != nil:
		t.arrived(&req, d)
	}
}

// sent ends a frame or a transfer of a message, and the message with the last one.
func (t *Transport) sent(req *request, d completion) {
	s := req.s
	s.failed = s.failed || d.code != 0
	if req.slot == none {
		if s.transfers--; s.transfers > 0 {
			return
		}
		s.pin.Unpin()
	}
	if !s.failed {
		t.wire += uint64(s.bytes)
		s.finished()
	}
}

// arrived ends a transfer to a receive, and the receive with the last one. Once the transport is
// broken no data is accepted: the sender may have failed, and have reused its buffers.
func (t *Transport) arrived(req *request, d completion) {
	r := req.r
	if r.transfers--; r.transfers == 0 {
		r.pin.Unpin()
	}
	switch {
	case d.code != 0 || t.fault != nil:
	case d.bytes != req.bytes:
		f := r.peer.broke("transfer of %d bytes, announced with %d", d.bytes, req.bytes)
		t.fail(f.rank, f.err)
	case r.transfers == 0:
		r.received()
	}
}

func (r *request) culprit() transport.Rank {
	switch {
	case r.s != nil:
		return r.s.peer.rank
	case r.r != nil:
		return r.r.peer.rank
	}
	return transport.None
}

// pause frees mu until c is woken, ctx ends or d has passed.
func (t *Transport) pause(ctx context.Context, c *call, d time.Duration) {
	if c.timer == nil {
		c.timer = time.NewTimer(d)
	} else {
		c.timer.Reset(d)
	}
	done := ctx.Done()
	if ctx.Err() != nil {
		done = nil // handled already; now it waits for another event
	}
	t.mu.Unlock()
	select {
	case <-c.wake:
	case <-done:
	case <-c.timer.C:
	}
	c.timer.Stop()
	t.mu.Lock()
	if c.idle == 0 && t.driver != c {
		c.idle = 1 // deadlines are to be checked
	}
}

// remaining is how long a call that does not drive may sleep before a deadline of its own.
func (t *Transport) remaining(c *call) time.Duration {
	const atMost = time.Second
	if c.since.IsZero() {
		c.since = time.Now()
	}
	if !c.grace.IsZero() {
		return max(min(time.Until(c.grace), atMost), time.Millisecond)
	}
	if t.cfg.OpTimeout <= 0 {
		return atMost
	}
	return max(min(time.Until(c.since.Add(t.cfg.OpTimeout)), atMost), time.Millisecond)
}

// nudge makes the driver, if there is one, handle new tasks.
func (t *Transport) nudge() {
	if d := t.driver; d != nil {
		t.port.interrupt()
		d.wakeUp()
	}
}
