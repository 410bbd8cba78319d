package switchyard

import (
	"math"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// judge decides for one rank, peer by peer, whether compressing what goes there pays: it holds the time that the bytes saved would take on
// that peer's link, as measured, against what compression was found to take.
type judge struct {
	perByte []float64 // seconds, by seat; 0 of this rank's own
	yes     []bool    // by seat
	perRow  float64   // seconds, of a whole pass's compression, forward and backward; 0 before it is known
	passes  int       // since the last trial
	spent   time.Duration
}

const (
	finding   = 1. / 3 // of a pass's compression goes into finding centroids, until a pass has shown what all of it takes
	trialWait = 128    // passes without compression from one trial to the next
	firstWait = 2      // passes before the first
	advantage = 1.25   // by which savings must exceed cost to begin
)

// newJudge knows the links from a seat to the others. All ranks of a node share its link to other nodes.
func newJudge(links alltoall.Links, top alltoall.Topology, seat, seats int) judge {
	j := judge{perByte: make([]float64, seats), yes: make([]bool, seats)}
	node := func(s int) int {
		if len(top.Node) == 0 {
			return 0
		}
		return top.Node[s]
	}
	mates := 0
	for s := range seats {
		if node(s) == node(seat) {
			mates++
		}
	}
	for s := range seats {
		switch {
		case s == seat:
		case node(s) == node(seat):
			j.perByte[s] = links.Within.Beta * 1e-9
		default:
			j.perByte[s] = links.Between.Beta * 1e-9 * float64(mates)
		}
	}
	return j
}

// favours tells whether to compress anything of the next pass.
func (j *judge) favours() bool {
	for _, yes := range j.yes {
		if yes {
			return true
		}
	}
	return false
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

// decide weighs a row, of which so many bytes travel on the four legs together, at the rate at which rows of the pass were alike.
func (j *judge) decide(bytes int, rate float64) {
	if j.perRow == 0 {
		return
	}
	for s, perByte := range j.perByte {
		need := j.perRow
		if !j.yes[s] {
			need *= advantage
		}
		j.yes[s] = float64(bytes)*(1-rate)*perByte > need
	}
}

// relative is the root of part over all, or 0 of nothing.
func relative(part, all float64) float64 {
	if all == 0 {
		return 0
	}
	return math.Sqrt(part / all)
}
