package mesh

import (
	"sync/atomic"
	"time"
)

// A yield of the processor lets a peer run, which takes microseconds. On a machine where others
// compute it takes until the scheduler has given each of them its time: milliseconds, and 64 of
// them for each wait made exchanges hundreds of times as slow beside four busy loops. Sleepers are
// woken before such programs.
const (
	longYield    = 2 * time.Millisecond // a yield that takes longer has let somebody compute
	firstPause   = 4 * time.Millisecond
	longestPause = 256 * time.Millisecond
)

// eagerness says whether operations may yield before they sleep: not for a while after a yield that
// took long, and for twice as long after each further one. Its methods may be called by any number
// of goroutines.
type eagerness struct {
	start  time.Time
	long   time.Duration // longYield
	resume atomic.Int64  // nanoseconds from start to the end of the pause
	pause  atomic.Int64  // nanoseconds
	calm   atomic.Int32  // yields in turn that were short
}

// calmTurns is after how many short yields in turn the machine is no longer taken for busy.
const calmTurns = 256

// may tells whether there is no pause.
func (e *eagerness) may(now time.Time) bool {
	return now.Sub(e.start) >= time.Duration(e.resume.Load())
}

// turn yields once, as the given one of a wait, and reports whether to go on.
func (e *eagerness) turn(round int) bool {
	begin := time.Now()
	if !yield(round) {
		return true
	}
	now := time.Now()
	return e.took(now.Sub(begin), now)
}

// took notes how long a yield took that has ended now, and reports whether to go on.
func (e *eagerness) took(d time.Duration, now time.Time) bool {
	if d < e.long {
		if e.calm.Add(1) == calmTurns {
			e.pause.Store(0)
		}
		return true
	}
	e.calm.Store(0)
	pause := min(max(2*time.Duration(e.pause.Load()), firstPause), longestPause)
	e.pause.Store(int64(pause))
	e.resume.Store(int64(now.Add(pause).Sub(e.start)))
	return false
}
