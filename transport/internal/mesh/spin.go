package mesh

import (
	"sync/atomic"
	"time"
)

// A yield of the processor lets a peer run, which takes microseconds. On a machine where others
// compute it takes until the scheduler has given each of them its time: milliseconds. 64 of them
// for each wait made exchanges hundreds of times slower beside four busy loops. Threads that sleep
// are scheduled before such programs.
const (
	longYield    = 2 * time.Millisecond // a yield that takes longer has let another program compute
	firstPause   = 4 * time.Millisecond
	longestPause = 256 * time.Millisecond
)

// spinPolicy says whether operations may yield before they sleep: not for a while after a yield
// that took long, and for twice as long after each further one. Its methods may be called by any
// number of goroutines.
type spinPolicy struct {
	start  time.Time
	long   time.Duration // longYield
	resume atomic.Int64  // nanoseconds from start to the end of the pause
	pause  atomic.Int64  // nanoseconds
	calm   atomic.Int32  // yields in turn that were short
}

// calmTurns is after how many short yields in turn the machine is no longer taken for busy.
const calmTurns = 256

// allowed tells whether there is no pause.
func (p *spinPolicy) allowed(now time.Time) bool {
	return now.Sub(p.start) >= time.Duration(p.resume.Load())
}

// yield yields once, as the given one of a wait, and reports whether to go on.
func (p *spinPolicy) yield(round int) bool {
	begin := time.Now()
	if !yield(round) {
		return true
	}
	now := time.Now()
	return p.record(now.Sub(begin), now)
}

// record notes how long a yield took that has ended now, and reports whether to go on.
func (p *spinPolicy) record(d time.Duration, now time.Time) bool {
	if d < p.long {
		if p.calm.Add(1) == calmTurns {
			p.pause.Store(0)
		}
		return true
	}
	p.calm.Store(0)
	pause := min(max(2*time.Duration(p.pause.Load()), firstPause), longestPause)
	p.pause.Store(int64(pause))
	p.resume.Store(int64(now.Add(pause).Sub(p.start)))
	return false
}
