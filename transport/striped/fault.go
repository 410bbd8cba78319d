package striped

import (
	"fmt"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// tellPatience bounds how long a call that fails waits until the peers have been told why.
const tellPatience = 500 * time.Millisecond

// fault is why a call failed: who is to blame, and for what.
type fault struct {
	rank transport.Rank
	err  error
}

// as states the fault as that of the named operation; no fault is no error.
func (f *fault) as(op string) error {
	if f == nil {
		return nil
	}
	return &transport.Error{Rank: f.rank, Op: op, Err: f.err}
}

// unusable returns why no call can succeed, or nil. It returns a fault once the peers have been
// told of it, so that a rank which exits because of another is not blamed itself.
func (t *Transport) unusable() *fault {
	if t.closed.Load() {
		return &fault{t.rank, transport.ErrClosed}
	}
	f := t.fault.Load()
	if f != nil {
		select {
		case <-t.told:
		case <-t.closing:
		}
	}
	return f
}

// usable is unusable without the wait.
func (t *Transport) usable() bool { return !t.closed.Load() && t.fault.Load() == nil }

// fail breaks the transport for good, unless it is broken already, and returns the fault that
// counts. It must be called without any lock.
func (t *Transport) fail(rank transport.Rank, err error) *fault {
	t.breakDown(rank, err)
	return t.unusable()
}

// breakDown is fail for those who do not wait until the peers have been told.
func (t *Transport) breakDown(rank transport.Rank, err error) {
	f := &fault{rank, err}
	if t.closed.Load() || !t.fault.CompareAndSwap(nil, f) {
		return
	}
	t.cfg.Log.Warn("transport broken", "rank", t.rank, "culprit", rank, "err", err)
	t.mu.Lock()
	t.patience = time.AfterFunc(tellPatience, t.allTold)
	t.mu.Unlock()
	payload := encodeReason(f)
	for _, o := range t.outward {
		o.end(header{}, payload, true)
	}
	if len(t.outward) == 0 {
		t.allTold()
	}
	close(t.broken)
	t.rouse()
}

// rouse wakes all who wait in an inbox.
func (t *Transport) rouse() {
	for _, b := range t.inboxes {
		b.mu.Lock()
		b.changed.Broadcast()
		b.mu.Unlock()
	}
}

// toldOne counts a peer that has been told that nothing follows.
func (t *Transport) toldOne() {
	if t.untold.Add(-1) == 0 {
		t.allTold()
	}
}

func (t *Transport) allTold() { t.tellOnce.Do(func() { close(t.told) }) }

// laneDied takes a lane out of use for all peers because of what it said about one.
func (t *Transport) laneDied(lane int, peer transport.Rank, err error) {
	t.mu.Lock()
	if t.dead[lane] != nil || t.closed.Load() {
		t.mu.Unlock()
		return
	}
	t.dead[lane] = err
	count := 0
	for _, e := range t.dead {
		if e != nil {
			count++
		}
	}
	t.mu.Unlock()
	t.cfg.Log.Warn("lane dead", "rank", t.rank, "lane", lane, "peer", peer, "dead", count, "parity", t.cfg.Parity, "err", err)
	for _, o := range t.outward {
		o.drop(lane)
	}
	if count > t.cfg.Parity {
		culprit := transport.CulpritOf(err)
		if culprit == transport.None {
			culprit = peer
		}
		t.breakDown(culprit, fmt.Errorf("%s dead, parity %d: %w", t.deadLanes("%s"), t.cfg.Parity, err))
	}
}

// deadLanes names the lanes that are dead, within format, or says nothing.
func (t *Transport) deadLanes(format string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for lane, err := range t.dead {
		if err != nil {
			names = append(names, fmt.Sprintf("lane %d", lane))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf(format, strings.Join(names, ", ")+fmt.Sprintf(" of %d", len(t.lanes)))
}

// corrupted notes a corrupt frame.
func (t *Transport) corrupted(lane int, peer transport.Rank, h *header) {
	t.mu.Lock()
	t.errors[lane]++
	count := t.errors[lane]
	t.mu.Unlock()
	t.cfg.Log.Warn("corrupt stripe", "rank", t.rank, "lane", lane, "peer", peer, "message", h.message, "on this lane", count)
}
