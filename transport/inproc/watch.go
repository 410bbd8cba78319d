package inproc

import (
	"errors"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// Watch implements transport.Watcher. Statements are compared by whichever rank has waited for
// long, on its own goroutine.
func (t *Transport) Watch(p transport.Program) {
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	t.program = p
	t.world.watched.Store(true)
}

// slowWait is an operation that has waited for long, and the rank that waits.
type slowWait struct {
	t     *Transport
	since time.Time
}

// slow has this rank state what it is in when a group of operations has waited for long.
func (t *Transport) slow(g *group, waited time.Duration) (again time.Duration) {
	if waited > 0 {
		t.speak(g, waited)
	}
	return transport.NextStatement(waited)
}

// speak has every other rank compare what this one is in with what it does itself.
func (t *Transport) speak(g *group, waited time.Duration) {
	w, now := t.world, time.Now()
	w.slowMu.Lock()
	if _, known := w.slow[g]; !known {
		w.slow[g] = slowWait{t, now.Add(-waited)}
	}
	w.slowMu.Unlock()
	for _, peer := range w.ranks {
		if peer != t && w.fault() == nil {
			t.state(peer, now)
		}
	}
}

// state has one other rank compare what this one is in, and breaks the job if they are out of step.
func (t *Transport) state(peer *Transport, now time.Time) {
	mine, theirs := t.watchedBy(), peer.watchedBy()
	if mine == nil || theirs == nil {
		return
	}
	said := mine.Statement(peer.rank, t.world.waiting(t, peer.rank, now))
	if err := theirs.Compare(t.rank, said, t.world.waiting(peer, t.rank, now)); err != nil {
		culprit := transport.None
		switch {
		case errors.Is(err, transport.ErrProtocol):
			culprit = t.rank
		case errors.Is(err, transport.ErrPeerFailed):
			culprit = peer.rank
		}
		t.world.fail(&transport.Error{Rank: culprit, Op: "wait", Err: err})
	}
}

func (t *Transport) watchedBy() transport.Program {
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	return t.program
}

// waiting is for how long a slow operation of t has been waiting for a message of rank from.
func (w *world) waiting(t *Transport, from transport.Rank, now time.Time) (d time.Duration) {
	w.slowMu.Lock()
	defer w.slowMu.Unlock()
	for g, s := range w.slow {
		if s.t == t {
			g.awaited(func(r int) {
				if transport.Rank(r) == from {
					d = max(d, now.Sub(s.since))
				}
			})
		}
	}
	return d
}

// awake forgets that a group has waited for long.
func (w *world) awake(g *group) {
	if g.slow == nil {
		return
	}
	w.slowMu.Lock()
	defer w.slowMu.Unlock()
	delete(w.slow, g)
}

// Settle implements transport.Watcher.
func (t *Transport) Settle() error {
	for _, peer := range t.world.ranks {
		if now := time.Now(); peer != t && t.world.fault() == nil {
			t.state(peer, now)
			peer.state(t, now)
		}
	}
	if err := t.world.fault(); err != nil && errors.Is(err, transport.ErrOutOfStep) {
		return err
	}
	return nil
}

// misfit compares what both ends of a message that does not fit are in, before it breaks the job
// for that reason.
func (t *Transport) misfit(at place) error {
	peer := t.world.ranks[at.peer]
	if now := time.Now(); peer != t {
		t.state(peer, now)
		peer.state(t, now)
	}
	return t.world.fail(t.truncated(at))
}

// overdue is the error of an operation that has taken too long.
func (t *Transport) overdue(at place) *transport.Error {
	culprit, err := transport.Overdue(t.watchedBy(), at.peer, t.world.timeout)
	return &transport.Error{Rank: culprit, Op: at.op, Err: err}
}
