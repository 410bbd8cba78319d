package alltoall

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// chooser chooses the algorithm of each exchange: the configured one, or if that is Auto the one
// that is predicted to be fastest.
type chooser struct {
	algorithm Algorithm // the one configured
	costs     Costs
	topology  Topology
	nodes     on
	ranks     int
	// countsBytes is the mean length of a counts message, and rowBytes that of a row in a dispatch.
	countsBytes, rowBytes int
	chosen                map[load]Algorithm // by Auto
	last                  Algorithm          // of the last exchange
}

// newChooser chooses for exchanges between the given number of ranks.
func newChooser(c Config, ranks int) chooser {
	ch := chooser{
		algorithm: c.Algorithm, last: c.Algorithm, costs: c.Costs, topology: c.Topology,
		nodes: c.Topology.on(ranks), ranks: ranks, rowBytes: c.Wire.Legs()[0].Bytes(c.Dim),
		chosen: map[load]Algorithm{},
	}
	counts := c.Placement.Experts() / ranks
	if c.Allocates { // of one leaf, as nobody knows how many there are
		counts = rowTimeWords + c.Placement.Experts()
	}
	ch.countsBytes = 4 * (countsHeader + counts + ch.countedNodes())
	return ch
}

// another returns a chooser for the same exchanges, which remembers none.
func (c *chooser) another() chooser {
	return chooser{
		algorithm: c.algorithm, last: c.algorithm, costs: c.costs, topology: c.topology, nodes: c.nodes,
		ranks: c.ranks, countsBytes: c.countsBytes, rowBytes: c.rowBytes, chosen: map[load]Algorithm{},
	}
}

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

// predicts reports whether Auto has costs to choose by.
func (c *chooser) predicts() bool { return c.algorithm == Auto && c.costs != nil && c.ranks > 1 }

// mostNodes bounds the number of nodes of whose rows counts tell.
const mostNodes = 64

// countedNodes is the number of those nodes, or 0 if nothing is predicted.
func (c *chooser) countedNodes() int {
	if n := len(c.nodes.members); c.predicts() && n <= mostNodes {
		return n
	}
	return 0
}

// predict returns the time that is predicted of each algorithm.
func (c *chooser) predict(bytes int, share Share) (list []Prediction) {
	for _, a := range Algorithms() {
		counts, all := c.roundTime(a, c.countsBytes, 1), c.roundTime(a, bytes, 1)
		dispatch := all
		switch a {
		case Rails:
			dispatch = c.roundTime(a, bytes, share.Nodes)
		case Dedup:
			dispatch = c.roundTime(a, int(share.Ranks*float64(bytes)), 1)
		}
		list = append(list, Prediction{Algorithm: a, Dispatch: counts + dispatch, Combine: all})
	}
	return list
}

// roundTime predicts the time of a round of which a share of the bytes between nodes crosses.
func (c *chooser) roundTime(a Algorithm, bytes int, crossing float64) time.Duration {
	if c.costs == nil {
		return 0
	}
	return c.costs.Round(UniformRound{
		Algorithm: a, Topology: c.topology, Ranks: c.ranks, Bytes: bytes, Crossing: crossing,
	})
}

// clearly is how many times as long Direct must be predicted to take for another algorithm to be
// chosen: smaller gains are within the error of measurement, and rounds are measured with messages
// that are all alike.
const clearly = 1.25

// choose returns the algorithm for messages of the given mean length, of whose rows the given share
// remains without repeated tokens. All ranks that ask for the same load get the same algorithm.
func (c *chooser) choose(bytes int, share Share) Algorithm {
	if c.algorithm != Auto {
		return c.algorithm
	}
	if !c.predicts() {
		return Direct
	}
	l := loadOf(bytes, share)
	a, ok := c.chosen[l]
	if !ok {
		list := c.predict(l.bytes, Share{float64(l.nodes) / 8, float64(l.ranks) / 8})
		best := slices.MinFunc(list, func(a, b Prediction) int { return cmp.Compare(a.sum(), b.sum()) })
		if direct := list[0]; float64(direct.sum()) <= clearly*float64(best.sum()) {
			best = direct
		}
		a = best.Algorithm
		c.chosen[l] = a
	}
	return a
}

// chooseForCounts returns the algorithm for a round of counts.
func (c *chooser) chooseForCounts() Algorithm { return c.choose(c.countsBytes, Share{1, 1}) }

// chooseFor returns the algorithm for the rows that ranks have announced, in this number of
// messages from rank to rank, the same on every rank. It goes by the length of a message, and by
// the share of rows that remains without repeated tokens. If messages differ the length is that of
// uniform messages that would load the links as much as the busiest one is.
func (c *chooser) chooseFor(from []announcement, messages int) Algorithm {
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
	c.last = c.choose(int(float64(c.rowBytes)*max(mean, c.busiest(from)))/messages, share)
	return c.last
}

// busiest is the number of rows from each rank to each other that would load every node's link as
// much as the busiest one is.
func (c *chooser) busiest(from []announcement) float64 {
	most := 0.0
	for n, members := range c.nodes.members[:c.countedNodes()] {
		out, in := 0, 0
		for r, a := range from {
			for to, rows := range a.toNode {
				switch {
				case to == n && c.nodes.node[r] != n:
					in += rows
				case to != n && c.nodes.node[r] == n:
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
