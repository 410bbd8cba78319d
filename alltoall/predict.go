package alltoall

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Costs predicts the time of rounds, by which [Auto] chooses. All ranks have the same. Package
// links has one, of links that it measures.
type Costs interface {
	// Round predicts the time of a round on the rank that is slowest.
	Round(r UniformRound) time.Duration
	// Validate returns an error if nothing can be predicted from the costs.
	Validate() error
}

// UniformRound is a round in which each rank has a message of the same length for each other.
type UniformRound struct {
	Algorithm Algorithm
	Topology  Topology
	Ranks     int
	// Bytes is the length of a message.
	Bytes int
	// Crossing is the share of the bytes between nodes that has to cross, from 0 to 1.
	Crossing float64
}

// Share is the share of rows that remains if a token travels once: of the rows between nodes if it
// travels to each node once, and of all rows if it travels to each rank once. It is 1 if no token
// has two experts there.
type Share struct{ Nodes, Ranks float64 }

// load is what Auto chooses by: the length of a message, and the shares in eighths.
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

// Prediction is the time of a dispatch by an algorithm, and of the combine that follows, on the
// rank that is slowest.
type Prediction struct {
	Algorithm         Algorithm
	Dispatch, Combine time.Duration
}

func (p Prediction) sum() time.Duration { return p.Dispatch + p.Combine }

// Predict returns the time that is predicted of each algorithm if all messages have the given
// length and the given share of rows remains without repeated tokens. Without [Config.Costs] all
// are 0.
func (x *Exchange) Predict(bytes int, share Share) []Prediction {
	var list []Prediction
	for _, a := range Algorithms() {
		counts, all := x.roundTime(a, x.countsBytes(), 1), x.roundTime(a, bytes, 1)
		dispatch := all
		switch a {
		case Rails:
			dispatch = x.roundTime(a, bytes, share.Nodes)
		case Dedup:
			dispatch = x.roundTime(a, int(share.Ranks*float64(bytes)), 1)
		}
		list = append(list, Prediction{Algorithm: a, Dispatch: counts + dispatch, Combine: all})
	}
	return list
}

// countsBytes is the mean length of a counts message.
func (x *Exchange) countsBytes() int {
	return 4 * (countsHeader + x.placement.Experts()/x.size() + x.nodeWords())
}

// roundTime predicts the time of a round of which a share of the bytes between nodes crosses.
func (x *Exchange) roundTime(a Algorithm, bytes int, crossing float64) time.Duration {
	if x.costs == nil {
		return 0
	}
	return x.costs.Round(UniformRound{
		Algorithm: a, Topology: x.topology, Ranks: x.size(), Bytes: bytes, Crossing: crossing,
	})
}

// clearly is how many times as long Direct must be predicted to take for another algorithm to be
// chosen: smaller gains are within the error of measurement, and rounds are measured with messages
// that are all alike.
const clearly = 1.25

// predicts reports whether Auto has costs to choose by.
func (x *Exchange) predicts() bool {
	return x.algorithm == Auto && x.costs != nil && x.size() > 1
}

// choose returns the algorithm for messages of the given mean length, of whose rows the given share
// remains without repeated tokens. All ranks that ask for the same load get the same algorithm.
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

// chooseFor returns the algorithm for the rows that ranks have announced, in this number of
// messages from rank to rank, the same on every rank. It goes by the length of a message, and by
// the share of rows that remains without repeated tokens. If messages differ the length is that of
// uniform messages that would load the links as much as the busiest one is.
func (x *Exchange) chooseFor(from []announcement, messages int) Algorithm {
	leaving, crossing, byNode, byRank := 0, 0, 0, 0
	for _, a := range from {
		leaving, crossing, byNode, byRank = leaving+a.leaving, crossing+a.crossings.rows, byNode+a.byNode, byRank+a.byRank
	}
	share := Share{1, 1}
	if crossing > 0 {
		share.Nodes = float64(byNode) / float64(crossing)
	}
	if leaving > 0 {
		share.Ranks = float64(byRank) / float64(leaving)
	}
	mean := float64(leaving) / float64(max(len(from)*(len(from)-1), 1))
	return x.choose(int(float64(x.wire.Dispatch.Bytes(x.dim))*max(mean, x.busiest(from)))/messages, share)
}

// busiest is the number of rows from each rank to each other that would load every node's link as
// much as the busiest one is.
func (x *Exchange) busiest(from []announcement) float64 {
	most := 0.0
	for n, members := range x.nodes.members[:x.nodeWords()] {
		out, in := 0, 0
		for r, a := range from {
			for to, rows := range a.toNode {
				switch {
				case to == n && x.nodes.node[r] != n:
					in += rows
				case to != n && x.nodes.node[r] == n:
					out += rows
				}
			}
		}
		if pairs := len(members) * (len(from) - len(members)); pairs > 0 {
			most = max(most, float64(max(in, out))/float64(pairs))
		}
	}
	return most
}

// stepsOf returns the steps of this rank in an algorithm.
func (x *Exchange) stepsOf(a Algorithm) []Step {
	if x.steps[a] == nil {
		x.steps[a] = a.Steps(x.topology, x.size(), x.rank())
	}
	return x.steps[a]
}
