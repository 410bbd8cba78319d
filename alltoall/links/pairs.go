package links

import (
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// Pairs are the links between each two ranks: element [a][b] is the link between a and b, and the
// same as [b][a]. Unlike [Links] they distinguish slow network cards from fast ones. [Pairs.Cost]
// is what schedule.GroupRanks divides ranks by.
type Pairs [][]Link

// pairSizes are the sizes of the messages that are timed between two ranks.
var pairSizes = []size{{64, 4}, {16 << 10, 4}, {256 << 10, 2}}

// MeasurePairs times messages between each two ranks of t, which must carry nothing else, in both
// directions at once. In each of n−1 rounds every rank has one partner, so ranks that share a link
// share it here too. All ranks call it, and all get the same result. A round takes some sixty
// messages, of 64 bytes to 256 KiB, 3 MiB in all.
func MeasurePairs(ctx context.Context, t transport.Transport) (Pairs, error) {
	n, me := t.Size(), int(t.Rank())
	mine := make([]fit, n)
	for round := range pairRounds(n) {
		peer := partner(n, round, me)
		if peer < 0 {
			continue
		}
		var err error
		if mine[peer], err = timeMessages(ctx, t, pairTag, peer, peer, pairSizes); err != nil {
			return nil, errtext.Errorf("alltoall: measuring the link to rank %d: %w", peer, err)
		}
	}
	all, err := gatherFits(ctx, t, mine)
	if err != nil {
		return nil, err
	}
	p := make(Pairs, n)
	for a := range p {
		p[a] = make([]Link, n)
		for b := range p[a] {
			slower := all[a][b]
			if other := all[b][a]; other.time() > slower.time() {
				slower = other
			}
			p[a][b] = slower.link()
		}
	}
	return p, nil
}

// pairRounds is the number of rounds in which each of n ranks can be the partner of each other.
func pairRounds(n int) int { return n + n%2 - 1 }

// partner is the partner of a rank in a round, or -1, by the circle method: with an even number of
// ranks the last one stays, and the others rotate.
func partner(n, round, rank int) int {
	rotating := pairRounds(n)
	peer := ((2*round-rank)%rotating + rotating) % rotating
	switch {
	case rank == rotating: // the one that stays; only if n is even
		peer = round
	case peer == rank:
		peer = rotating
	}
	if peer >= n {
		return -1
	}
	return peer
}

// Cost returns how many nanoseconds a message of the given length takes between each two ranks.
func (p Pairs) Cost(bytes int) [][]float64 {
	cost := make([][]float64, len(p))
	for a := range p {
		for _, l := range p[a] {
			cost[a] = append(cost[a], float64(l.Alpha)+l.Beta*float64(bytes))
		}
	}
	return cost
}

// Topology puts ranks on one node if a chain of links connects them over which a message of the
// given length takes at most the given multiple of its time over the fastest link.
func (p Pairs) Topology(bytes int, times float64) alltoall.Topology {
	cost := p.Cost(bytes)
	fastest := -1.0
	for a := range cost {
		for _, c := range cost[a][:a] {
			if fastest < 0 || c < fastest {
				fastest = c
			}
		}
	}
	t := alltoall.Topology{Node: slices.Repeat([]int{-1}, len(p))}
	nodes := 0
	for r := range t.Node {
		if t.Node[r] < 0 {
			putOnNode(cost, fastest*times, t.Node, r, nodes)
			nodes++
		}
	}
	return t
}

// putOnNode puts rank r on a node, and all ranks that it reaches.
func putOnNode(cost [][]float64, limit float64, node []int, r, number int) {
	node[r] = number
	for peer, c := range cost[r] {
		if peer != r && node[peer] < 0 && c <= limit {
			putOnNode(cost, limit, node, peer, number)
		}
	}
}
