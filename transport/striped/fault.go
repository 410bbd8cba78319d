package striped

import (
	"fmt"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// notifyTimeout bounds how long a failing call waits until its reason has been sent to the peers.
const notifyTimeout = 500 * time.Millisecond

// fault is why a call failed: the culprit and the cause.
type fault struct {
	rank transport.Rank
	err  error
}

// as returns f as the error of the named operation; nil if f is nil.
func (f *fault) as(op string) error {
	if f == nil {
		return nil
	}
	return &transport.Error{Rank: f.rank, Op: op, Err: f.err}
}

// unusable returns why no call can succeed, or nil. It returns a fault once that has been sent to
// the peers, so that a rank which exits because of another is not blamed itself.
func (t *Transport) unusable() *fault {
	if t.closed.Load() {
		return &fault{t.rank, transport.ErrClosed}
	}
	f := t.fault.Load()
	if f != nil {
		select {
		case <-t.notified:
		case <-t.closing:
		}
	}
	return f
}

// usable is unusable without the wait.
func (t *Transport) usable() bool { return !t.closed.Load() && t.fault.Load() == nil }

// fail breaks the transport for good, unless it is broken already, and returns the first fault. It
// must be called without any lock.
func (t *Transport) fail(rank transport.Rank, err error) *fault {
	t.breakDown(rank, err)
	return t.unusable()
}

// breakDown is fail without the wait until the peers have been notified.
func (t *Transport) breakDown(rank transport.Rank, err error) {
	f := &fault{rank, err}
	if t.closed.Load() || !t.fault.CompareAndSwap(nil, f) {
		return
	}
	t.cfg.Log.Warn("transport broken", "rank", t.rank, "culprit", rank, "err", err)
	t.mu.Lock()
	t.notifyTimer = time.AfterFunc(notifyTimeout, t.allNotified)
	t.mu.Unlock()
	payload := encodeReason(f)
	for _, o := range t.outward {
		o.end(header{}, payload, true)
	}
	if len(t.outward) == 0 {
		t.allNotified()
	}
	close(t.broken)
	t.wakeAll()
}

// wakeAll wakes all goroutines that wait in an inbox.
func (t *Transport) wakeAll() {
	for _, b := range t.inboxes {
		b.mu.Lock()
		b.changed.Broadcast()
		b.mu.Unlock()
	}
}

// oneNotified counts a peer that an end has been sent to.
func (t *Transport) oneNotified() {
	if t.unnotified.Add(-1) == 0 {
		t.allNotified()
	}
}

func (t *Transport) allNotified() { t.notifyOnce.Do(func() { close(t.notified) }) }

// linkDied takes a link out of use for all peers because of its error err about one.
func (t *Transport) linkDied(link int, peer transport.Rank, err error) {
	t.mu.Lock()
	if t.dead[link] != nil || t.closed.Load() {
		t.mu.Unlock()
		return
	}
	t.dead[link] = err
	count := 0
	for _, e := range t.dead {
		if e != nil {
			count++
		}
	}
	t.mu.Unlock()
	t.cfg.Log.Warn("link dead", "rank", t.rank, "link", link, "peer", peer, "dead", count, "parity", t.cfg.Parity, "err", err)
	for _, o := range t.outward {
		o.drop(link)
	}
	if count > t.cfg.Parity {
		culprit := transport.CulpritOf(err)
		if culprit == transport.None {
			culprit = peer
		}
		t.breakDown(culprit, fmt.Errorf("%s dead, parity %d: %w", t.deadLinks("%s"), t.cfg.Parity, err))
	}
}

// deadLinks returns the names of the dead links, put into format, or "" if there are none.
func (t *Transport) deadLinks(format string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for link, err := range t.dead {
		if err != nil {
			names = append(names, fmt.Sprintf("link %d", link))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf(format, strings.Join(names, ", ")+fmt.Sprintf(" of %d", len(t.links)))
}

// corrupted counts a corrupt frame.
func (t *Transport) corrupted(link int, peer transport.Rank, h *header) {
	t.mu.Lock()
	t.errors[link]++
	count := t.errors[link]
	t.mu.Unlock()
	t.cfg.Log.Warn("corrupt stripe", "rank", t.rank, "link", link, "peer", peer, "message", h.message, "on this link", count)
}
