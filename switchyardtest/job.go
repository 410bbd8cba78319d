package switchyardtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-moe/switchyard"
)

// job is the ranks of this process.
type job struct {
	ctx   context.Context
	end   context.CancelCauseFunc
	grace time.Duration
	do    func(ctx context.Context, w *switchyard.World) error
	ended chan *outcome // of each rank, as it ends
	tell  func(error)   // called with a failure, or nil
	apart bool          // an error of one rank is no matter of the others

	mu     sync.Mutex
	ranks  []*outcome
	failed []failed // in the order of time
}

// failed is a rank that fails the test, and why.
type failed struct {
	rank int
	why  error
}

func (c Config) newJob(t testing.TB, open []opened, do func(context.Context, *switchyard.World) error) (j *job, stop func()) {
	j = &job{grace: c.grace, do: do, ended: make(chan *outcome, len(open))}
	for _, o := range open {
		j.ranks = append(j.ranks, &outcome{opened: o})
	}
	bounded, release := context.WithCancel(t.Context())
	if limit := c.limit(t, 2*j.grace); limit > 0 {
		bounded, release = context.WithTimeoutCause(t.Context(), limit,
			fmt.Errorf("the ranks have not returned within %v: %w", limit.Round(time.Millisecond), context.DeadlineExceeded))
	}
	j.ctx, j.end = context.WithCancelCause(bounded)
	return j, func() { j.end(nil); release() }
}

// limit is how long the ranks may work, or 0 if nothing bounds that: the test needs the time
// reserved before its own deadline to tell what has happened.
func (c Config) limit(t testing.TB, reserved time.Duration) time.Duration {
	d, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return c.Timeout
	}
	deadline, ok := d.Deadline()
	if !ok {
		return c.Timeout
	}
	left := time.Until(deadline)
	left = max(left-min(left/4, reserved+time.Second), time.Millisecond)
	if c.Timeout == 0 {
		return left
	}
	return min(left, c.Timeout)
}

// run starts the ranks and returns when all have ended or cannot be made to.
func (j *job) run() {
	for _, o := range j.ranks {
		go j.runRank(o)
	}
	left := len(j.ranks)
	if left = j.wait(left, j.ctx.Done(), 0); left > 0 {
		left = j.wait(left, nil, j.grace)
	}
	if left > 0 {
		j.closeWorlds()
		j.wait(left, nil, j.grace)
	}
}

// wait waits for the end of ranks until stop, or for limit if that is above 0, and returns how many
// are left.
func (j *job) wait(left int, stop <-chan struct{}, limit time.Duration) int {
	var timer <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		timer = t.C
	}
	for ; left > 0; left-- {
		select {
		case o := <-j.ended:
			j.mu.Lock()
			o.done = true
			j.mu.Unlock()
		case <-stop:
			return left
		case <-timer:
			return left
		}
	}
	return 0
}

// closeWorlds ends the operations of ranks that do not obey their context.
func (j *job) closeWorlds() {
	j.mu.Lock()
	var worlds []*switchyard.World
	for _, o := range j.ranks {
		if o.world != nil && !o.done {
			worlds = append(worlds, o.world)
		}
	}
	j.mu.Unlock()
	closeAll(worlds)
}

// closeAll closes worlds at the same time, since each may wait for the others.
func closeAll(worlds []*switchyard.World) {
	var all sync.WaitGroup
	for _, w := range worlds {
		all.Go(func() { _ = w.Close() })
	}
	all.Wait()
}
