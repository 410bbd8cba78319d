package striped

import (
	"context"
	"time"
)

// run sends the queued frames of one link and peer, until it has sent an end or the link dies.
func (q *queue) run() {
	idle := time.NewTimer(q.o.t.cfg.Heartbeat)
	defer idle.Stop()
	for {
		b, last, ok := q.take()
		switch {
		case !ok:
			return
		case b == nil && !q.wait(idle):
			continue
		case b == nil:
			b = q.o.t.frame(header{kind: kindAlive}, nil)
		}
		t := q.o.t
		if err := t.links[q.link].Send(context.Background(), q.o.peer, frameTag, b.b); err != nil {
			t.linkDied(q.link, q.o.peer, err)
			return
		}
		q.sent(b, last)
		if last {
			return
		}
		idle.Reset(t.cfg.Heartbeat)
	}
}

// take returns the next frame to send, or nil if there is none, and whether it is the last one. It
// is not ok if the link is dead. The bytes of the frame still count as queued.
func (q *queue) take() (b *buffer, last, ok bool) {
	q.o.mu.Lock()
	defer q.o.mu.Unlock()
	switch {
	case q.dead:
		return nil, false, false
	case q.head < len(q.items):
		b = q.items[q.head]
		q.items[q.head] = nil
		if q.head++; q.head == len(q.items) {
			q.items, q.head = q.items[:0], 0
		}
		return b, false, true
	}
	return q.last, q.last != nil, true
}

// wait waits for a frame, and reports whether a sign of life is due first.
func (q *queue) wait(idle *time.Timer) (beat bool) {
	select {
	case <-q.ready:
		return false
	case <-idle.C:
		return true
	}
}

// sent frees a frame that has been sent.
func (q *queue) sent(b *buffer, last bool) {
	h := b.b[5]
	q.o.mu.Lock()
	defer q.o.mu.Unlock()
	switch {
	case last:
		q.last = nil
		q.o.notified()
	case frameKind(h) == kindStripe:
		q.bytes -= len(b.b) + stripeOverhead
		q.lags = q.lags && q.bytes > 0
		signal(q.o.changed)
	}
	q.o.t.pool.put(b)
}
