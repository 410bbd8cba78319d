package alltoall

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Link is what a message costs: Alpha, and Beta for each byte.
type Link struct {
	Alpha time.Duration
	// Beta is in nanoseconds a byte: 8 for 1 Gb/s.
	Beta float64
}

// Links are the costs of messages within a node, one rank to another, and between nodes, over the link that a node's ranks share. The
// zero value is unknown.
type Links struct {
	Within, Between Link
	// Rounds are whole rounds, where they have been measured. They tell more than single messages do: how ranks wait for each other, and
	// what they have of processors and links together.
	Rounds Rounds
}

// Rounds are the times of rounds between so many ranks, by algorithm, for messages of a few lengths.
type Rounds struct {
	Ranks int
	Bytes [roundSizes]int // ascending
	Times [algorithms][roundSizes]time.Duration
}

const roundSizes = 4

// at returns the time of a round with messages of so many bytes: on the line through the two lengths next to it. It is 0 where rounds have
// not been measured.
func (r *Rounds) at(a Algorithm, bytes int) time.Duration {
	if r.Ranks == 0 {
		return 0
	}
	i := 1
	for i < roundSizes-1 && bytes > r.Bytes[i] {
		i++
	}
	t := r.Times[a][i-1:]
	slope := float64(t[1]-t[0]) / float64(max(r.Bytes[i]-r.Bytes[i-1], 1))
	return max(t[0]+time.Duration(slope*float64(bytes-r.Bytes[i-1])), 1)
}

// Validate reports what is wrong with l, or nil.
func (l Links) Validate() error {
	for _, c := range []Link{l.Within, l.Between} {
		if c.Alpha < 0 || !(c.Beta >= 0) {
			return fmt.Errorf("alltoall: link of %v and %v ns a byte, must not be negative", c.Alpha, c.Beta)
		}
	}
	if l.Rounds.Ranks > 0 && !slices.IsSorted(l.Rounds.Bytes[:]) {
		return fmt.Errorf("alltoall: rounds of %v bytes, must ascend", l.Rounds.Bytes)
	}
	return nil
}

// Cost is what one rank moves in an algorithm, where every block has as many bytes, and the time that is predicted.
type Cost struct {
	Steps int
	// Messages within the rank's node and to others.
	Within, Between int
	// BytesWithin and BytesBetween that the rank sends.
	BytesWithin, BytesBetween int
	Time                      time.Duration
}

// Cost predicts a round by algorithm a with blocks of so many bytes, for one rank as it sees it: in a step, each message costs the rank
// its link's Alpha; each byte within the node its Beta; and each byte to other nodes Beta of the link between nodes, as often as ranks of
// the node send as much at the same time, which only Leader's do not. The slowest rank's is the algorithm's.
func (l Links) Cost(a Algorithm, t Topology, ranks, rank, bytes int) Cost {
	return l.cost(a, t.on(ranks), a.Steps(t, ranks, rank), rank, bytes, 1)
}

// cost is Cost where only a share of the bytes between nodes crosses.
func (l Links) cost(a Algorithm, o on, steps []Step, rank, bytes int, share float64) Cost {
	c := Cost{Steps: len(steps)}
	nanos := 0.0
	sharing := len(o.members[o.node[rank]])
	if a == Leader {
		sharing = 1
	}
	for _, s := range steps {
		for _, b := range s.Sends {
			n := bytes * len(b.Blocks)
			if o.node[b.Peer] == o.node[rank] {
				c.Within++
				c.BytesWithin += n
				nanos += float64(l.Within.Alpha) + l.Within.Beta*float64(n)
				continue
			}
			n = int(math.Ceil(share * float64(n)))
			c.Between++
			c.BytesBetween += n
			nanos += float64(l.Between.Alpha) + l.Between.Beta*float64(n*sharing)
		}
	}
	c.Time = time.Duration(nanos)
	return c
}

// Share is what part of the rows remains where a token travels once: of those between nodes if it does to each node, and of all if it
// does to each rank. 1 is where no token has two experts there.
type Share struct{ Nodes, Ranks float64 }

// load is what Auto chooses by: a message's length, and the shares in eighths.
type load struct{ bytes, nodes, ranks int }

// loadOf rounds, so that few loads are ever predicted.
func loadOf(bytes int, share Share) load {
	eighths := func(part float64) int { return max(int(math.Ceil(8*part)), 1) }
	l := load{1, eighths(share.Nodes), eighths(share.Ranks)}
	for l.bytes < bytes {
		l.bytes *= 2
	}
	return l
}

// Prediction is the time of a dispatch by an algorithm, and of the combine that follows, on the rank that is slowest.
type Prediction struct {
	Algorithm         Algorithm
	Dispatch, Combine time.Duration
}

// Predict returns what every algorithm is expected to take with messages of so many bytes in the mean, all alike, where a share of the
// rows remains if no token travels twice.
func (x *Exchange) Predict(bytes int, share Share) []Prediction {
	var list []Prediction
	for _, a := range Algorithms() {
		counts, all, once := x.roundTime(a, x.countsBytes(), 1), x.roundTime(a, bytes, 1), time.Duration(0)
		switch a {
		case Rails:
			once = x.roundTime(a, bytes, share.Nodes)
		case Gather:
			once = x.roundTime(a, int(share.Ranks*float64(bytes)), 1)
		default:
			once = all
		}
		list = append(list, Prediction{Algorithm: a, Dispatch: counts + once, Combine: all})
	}
	return list
}

// countsBytes is the length of a counts message in the mean.
func (x *Exchange) countsBytes() int {
	return 4 * (countsHeader + x.place.Experts()/x.size() + x.nodeWords())
}

// roundTime is that of the slowest rank in one round where a share of the bytes between nodes crosses: as measured, less what does not
// cross, or else as its messages cost.
func (x *Exchange) roundTime(a Algorithm, bytes int, share float64) time.Duration {
	var slowest, saved time.Duration
	measured := x.links.Rounds.Ranks == x.size()
	if !measured || share < 1 {
		for r := range x.size() {
			steps := a.Steps(x.topology, x.size(), r)
			whole, less := x.links.cost(a, x.nodes, steps, r, bytes, 1).Time, x.links.cost(a, x.nodes, steps, r, bytes, share).Time
			slowest, saved = max(slowest, less), max(saved, whole-less)
		}
	}
	if !measured {
		return slowest
	}
	return max(x.links.Rounds.at(a, bytes)-saved, x.links.Rounds.at(a, 0))
}

func (p Prediction) sum() time.Duration { return p.Dispatch + p.Combine }

// clearly is by how much another algorithm must be predicted to be faster than Direct to be taken: less is within what measuring leaves open,
// and rounds are measured with messages that are all alike.
const clearly = 1.25

// predicts tells whether Auto has something to go by.
func (x *Exchange) predicts() bool {
	return x.algorithm == Auto && x.links != Links{} && x.size() > 1
}

// choose returns the algorithm for messages of so many bytes in the mean, of which only a share travels where none does twice. All ranks that ask for one load get the same.
func (x *Exchange) choose(bytes int, share Share) Algorithm {
	if x.algorithm != Auto {
		return x.algorithm
	}
	if !x.predicts() {
		return Direct
	}
	l := loadOf(bytes, share)
	a, ok := x.chosen[l]
	if !ok {
		list := x.Predict(l.bytes, Share{float64(l.nodes) / 8, float64(l.ranks) / 8})
		best := slices.MinFunc(list, func(a, b Prediction) int { return cmp.Compare(a.sum(), b.sum()) })
		if direct := list[0]; float64(direct.sum()) <= clearly*float64(best.sum()) {
			best = direct
		}
		a = best.Algorithm
		x.chosen[l] = a
	}
	return a
}

// Explain says what is chosen for messages of so many bytes in the mean, where no token has two experts on a rank or node, and why.
func (x *Exchange) Explain(bytes int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d bytes a message: %s", bytes, x.choose(bytes, Share{1, 1}))
	switch {
	case x.algorithm != Auto:
		b.WriteString(", as configured")
	case !x.predicts():
		b.WriteString(", as the cost of links is unknown")
	default:
		for _, p := range x.Predict(bytes, Share{1, 1}) {
			fmt.Fprintf(&b, "\n  %-12s dispatch %v, combine %v", p.Algorithm, p.Dispatch, p.Combine)
		}
	}
	return b.String()
}

// stepsOf returns this rank's steps of an algorithm.
func (x *Exchange) stepsOf(a Algorithm) []Step {
	if x.steps[a] == nil {
		x.steps[a] = a.Steps(x.topology, x.size(), x.rank())
	}
	return x.steps[a]
}
