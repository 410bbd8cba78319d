package mpi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// closeGrace is how long Close waits until its farewells are sent, and, if the transport is broken,
// for the other ranks' Close.
const closeGrace = 2 * time.Second

// Close ends the transport. If Join has started MPI, it waits for the other ranks' Close, since all
// ranks must finalize MPI together: up to Config.CloseTimeout, or 2 s if the transport is broken.
// If some are still missing then, MPI is not finalized, and mpirun ends the whole job when this
// process exits.
func (t *Transport) Close() error {
	t.closeOnce.Do(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.closeErr = t.shutDown()
	})
	return t.closeErr
}

func (t *Transport) shutDown() error {
	t.closed = true
	t.purge()
	if t.fault == nil && t.sending() {
		h, text := (&fault{t.rank, transport.ErrPeerClosed}).notice()
		t.notifyAll(h, text)
	}
	c := t.enter("close")
	t.calls.wakeAll()
	t.nudge()
	clean := t.until(c, failedGrace+closeGrace, func() bool { return len(t.calls.list) == 1 && t.quiet() })
	t.notifyAll(header{kind: kindFarewell}, nil)
	clean = t.until(c, closeGrace, t.quiet) && clean
	var err error
	if limit := t.cfg.CloseTimeout; t.port.owned() {
		if t.fault != nil {
			limit = closeGrace
		}
		if !t.until(c, limit, t.allGone) {
			err = t.missing(limit)
		}
	}
	t.leave(c)
	var owner any
	if t.active > 0 {
		owner = t
	}
	if e := t.port.close(clean && t.active == 0 && t.allGone(), owner); err == nil && e != nil {
		err = &transport.Error{Rank: t.rank, Op: "close", Err: e}
	}
	t.keepPinned()
	t.freeMemory()
	return err
}

// held are the buffers that MPI still had when their transport closed. MPI may write to them as
// long as the process lives, so they stay pinned and are not reused.
var held struct {
	sync.Mutex
	requests []request
}

// keepPinned adds the buffers that MPI still has to held.
func (t *Transport) keepPinned() {
	held.Lock()
	defer held.Unlock()
	for _, r := range t.requests {
		if r.r != nil || (r.s != nil && r.slot == none) {
			held.requests = append(held.requests, r)
		}
	}
}

// sending reports whether MPI may still read a message whose Send is about to fail: peers must not
// use it.
func (t *Transport) sending() bool {
	for _, c := range t.calls.list {
		for i := range c.sends {
			if s := &c.sends[i]; s.large() && s.state == sendMoving {
				return true
			}
		}
	}
	return false
}

// until drives until condition holds or limit has passed, and reports whether it holds.
func (t *Transport) until(c *call, limit time.Duration, condition func() bool) bool {
	c.begin()
	c.condition, c.grace = condition, time.Now().Add(limit)
	t.wait(context.Background(), c)
	return condition()
}

// quiet reports whether nothing is left to send.
func (t *Transport) quiet() bool { return t.work.empty() && t.active == 0 }

func (t *Transport) allGone() bool {
	for _, p := range t.peers {
		if p.rank != t.rank && p.gone.IsZero() {
			return false
		}
	}
	return true
}

// missing names the first rank that has not closed.
func (t *Transport) missing(limit time.Duration) error {
	for _, p := range t.peers {
		if p.rank != t.rank && p.gone.IsZero() {
			return &transport.Error{Rank: p.rank, Op: "close", Err: fmt.Errorf(
				"has not closed within %v, so MPI is not finalized: %w", limit, transport.ErrTimeout)}
		}
	}
	return nil
}
