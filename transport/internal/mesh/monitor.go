package mesh

import (
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// tick is how often the monitor looks. It is what a deadline may be late by.
const tick = 50 * time.Millisecond

// minLooks is the least number of looks in which a peer has to be found silent before it is dead,
// unless that takes less than a tick each.
const minLooks = 10

// firstSignTimeout is the silence after which a peer is dead that has given no sign of life yet: it
// may still be opening its connections to others. One that dies meanwhile closes its control
// stream.
const firstSignTimeout = 10 * time.Minute

// monitor sends this rank's signs of life, and finds silent peers and overdue operations.
func (t *Mesh) monitor() {
	ticker := time.NewTicker(min(tick, t.cfg.Heartbeat))
	defer ticker.Stop()
	last, beat := time.Now(), time.Now()
	t.beat() // peers watch for this rank's silence from its first sign of life on
	for {
		select {
		case <-t.closing:
			return
		case <-t.broken:
			return
		case <-ticker.C:
			now := time.Now() // a tick may have waited as long as this process has been stopped
			t.creditScheduling(now.Sub(last), now)
			last = now
			if now.Sub(beat) >= t.cfg.Heartbeat {
				beat = now
				t.beat()
			}
			t.findSilent(now)
			t.sendStatements(now)
			t.sleepers.expire(now, t.cfg.OpTimeout)
		}
	}
}

// creditScheduling subtracts what a tick came late from every peer's silence: in that time it was
// this process that did not run. So no silence is too long before this process has looked minLooks
// times, however often it is stopped.
func (t *Mesh) creditScheduling(since time.Duration, now time.Time) {
	late := since - max(t.cfg.DeadAfter/minLooks, tick)
	if late <= 0 {
		return
	}
	for _, p := range t.peers {
		heard := p.lastHeard.Load()
		// Fails if the peer has just been heard, which is better still.
		p.lastHeard.CompareAndSwap(heard, min(heard+late.Nanoseconds(), now.UnixNano()))
	}
}

func (t *Mesh) beat() {
	for _, p := range t.peers {
		if p != t.self && !p.isGone() {
			p.sendControl(kindHeartbeat, nil)
		}
	}
}

func (t *Mesh) findSilent(now time.Time) {
	for _, p := range t.peers {
		if p.heard.Swap(false) {
			p.lastHeard.Store(now.UnixNano())
			p.begun.Store(true)
		}
		limit := t.cfg.DeadAfter
		if !p.begun.Load() {
			limit = max(limit, firstSignTimeout)
		}
		silence := now.Sub(time.Unix(0, p.lastHeard.Load()))
		if p != t.self && !p.isGone() && silence > limit {
			t.fail(p.rank, fmt.Errorf("silent for %v, limit %v: %w", silence.Round(time.Millisecond), limit, transport.ErrPeerDead))
			return
		}
	}
}

// isGone reports whether nothing more can come on the control stream.
func (p *peer) isGone() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// sleepers are the operations that wait and may have to be woken.
type sleepers struct {
	mu  sync.Mutex
	ops map[*operation]struct{}
}

func (s *sleepers) add(op *operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ops == nil {
		s.ops = make(map[*operation]struct{})
	}
	s.ops[op] = struct{}{}
}

func (s *sleepers) remove(op *operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ops, op)
}

func (s *sleepers) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for op := range s.ops {
		op.Wake()
	}
}

// expire ends what has waited for longer than limit, if there is one.
func (s *sleepers) expire(now time.Time, limit time.Duration) {
	if limit <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for op := range s.ops {
		if now.Sub(op.since) > limit {
			op.timedOut.Store(true)
			op.Wake()
		}
	}
}
