package switchyard

import (
	"math"
	"time"
)

// judge decides for one rank whether compression pays, from what it has measured: the time that a byte takes on the rank's link, and
// the time that compression takes a row. An exchange also waits for slower ranks, so a byte takes as long as in the best of
// the last few.
type judge struct {
	perByte [8]float64 // seconds, of the last exchanges; 0 where there was none
	next    int
	perRow  float64 // seconds, of a whole pass's compression, forward and backward; 0 before it is known
	passes  int     // since the last trial
	yes     bool
	spent   time.Duration // on compression by the last whole pass
}

const (
	finding   = 1. / 3 // of a pass's compression goes into finding centroids, until a pass has shown what all of it takes
	trialWait = 128    // passes without compression from one trial to the next
	firstWait = 2      // passes before the first
	advantage = 1.25   // by which savings must exceed cost to begin
)

// favours tells whether to compress the next pass.
func (j *judge) favours() bool { return j.yes }

// exchanged notes that so many bytes took so long.
func (j *judge) exchanged(bytes int, took time.Duration) {
	if bytes > 0 {
		j.perByte[j.next%len(j.perByte)] = took.Seconds() / float64(bytes)
		j.next++
	}
}

// byteTime is the time that a byte takes.
func (j *judge) byteTime() float64 {
	best := math.Inf(1)
	for _, t := range j.perByte {
		if t > 0 {
			best = min(best, t)
		}
	}
	return best
}

// wantsTrial tells whether it is time to find out what compression would cost, by finding the centroids of rows that have travelled.
func (j *judge) wantsTrial() bool {
	j.passes++
	if j.perRow == 0 {
		return j.passes > firstWait
	}
	return j.passes > trialWait
}

// tried notes how long finding the centroids of so many rows took.
func (j *judge) tried(rows int, took time.Duration) {
	j.passes = 0
	if rows > 0 {
		j.perRow = took.Seconds() / float64(rows) / finding
	}
}

// compressed notes how long all of a pass's compression took.
func (j *judge) compressed(rows int, took time.Duration) {
	if rows > 0 {
		j.perRow = took.Seconds() / float64(rows)
	}
}

// decide weighs a pass of so many rows, of which each sends so many bytes over the link on each of four legs, at a rate.
func (j *judge) decide(rows, wide int, rate float64) {
	if j.perRow == 0 || j.next < len(j.perByte) || rows == 0 {
		return
	}
	saved := 4 * float64(wide) * (1 - rate) * j.byteTime()
	need := j.perRow
	if !j.yes {
		need *= advantage
	}
	j.yes = saved > need
}

// relative is the root of part over all, or 0 of nothing.
func relative(part, all float64) float64 {
	if all == 0 {
		return 0
	}
	return math.Sqrt(part / all)
}
