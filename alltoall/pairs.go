package alltoall

import (
	"context"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// Pairs are the links between each two ranks: element [a][b] is that between a and b, and the same as [b][a]. Unlike [Links] they tell
// slow cards from fast ones. [Pairs.Cost] is what schedule.GroupRanks divides ranks by.
type Pairs [][]Link

// pairSizes are the bytes of the messages timed between two ranks, and how many follow each other in a batch.
var pairSizes = []struct{ bytes, times int }{{64, 4}, {16 << 10, 4}, {256 << 10, 2}}

// MeasurePairs times messages between each two ranks of t, which must carry nothing else, both ways at once. In each of n−1 rounds every
// rank has one partner, so ranks that share a link share it here too. All ranks call it, and all get the same. A round takes some
// sixty messages, of 64 bytes to 256 KiB, 3 MiB in all.
func MeasurePairs(ctx context.Context, t transport.Transport) (Pairs, error) {
	n, me := t.Size(), int(t.Rank())
	mine := make([]fit, n)
	for round := range meetings(n) {
		peer := partner(n, round, me)
		if peer < 0 {
			continue
		}
		var err error
		if mine[peer], err = timePair(ctx, t, peer); err != nil {
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
			p[a][b] = Link{Alpha: time.Duration(slower.alpha), Beta: slower.beta}
		}
	}
	return p, nil
}

// meetings is the number of rounds in which n ranks can all meet, two by two.
func meetings(n int) int { return n + n%2 - 1 }

// partner is whom a rank meets in a round, or -1: the last of an even number stays, the others go around a table.
func partner(n, round, rank int) int {
	seats := meetings(n)
	peer := ((2*round-rank)%seats + seats) % seats
	switch {
	case rank == seats: // the one that stays; only where n is even
		peer = round
	case peer == rank:
		peer = seats
	}
	if peer >= n {
		return -1
	}
	return peer
}

// timePair exchanges messages of every size with a peer, and fits their mean times.
func timePair(ctx context.Context, t transport.Transport, peer int) (fit, error) {
	const tag = 3
	var x, y []float64
	for _, size := range pairSizes {
		sends := []transport.Message{{Peer: transport.Rank(peer), Tag: tag, Bufs: [][]byte{make([]byte, size.bytes)}}}
		recvs := []transport.Message{{Peer: transport.Rank(peer), Tag: tag, Bufs: [][]byte{make([]byte, size.bytes)}}}
		mean, err := meanTime(size.times, func() error { return transport.Exchange(ctx, t, sends, recvs) })
		if err != nil {
			return fit{}, err
		}
		x, y = append(x, float64(size.bytes)), append(y, mean)
	}
	return fitLine(x, y), nil
}

// Cost returns how many nanoseconds a message of so many bytes takes between each two ranks.
func (p Pairs) Cost(bytes int) [][]float64 {
	cost := make([][]float64, len(p))
	for a := range p {
		for _, l := range p[a] {
			cost[a] = append(cost[a], float64(l.Alpha)+l.Beta*float64(bytes))
		}
	}
	return cost
}

// Topology puts ranks on one node that a chain of links connects over which a message of so many bytes takes at most times as long as over
// the fastest.
func (p Pairs) Topology(bytes int, times float64) Topology {
	cost := p.Cost(bytes)
	fastest := -1.0
	for a := range cost {
		for _, c := range cost[a][:a] {
			if fastest < 0 || c < fastest {
				fastest = c
			}
		}
	}
	t := Topology{Node: slices.Repeat([]int{-1}, len(p))}
	nodes := 0
	for r := range t.Node {
		if t.Node[r] < 0 {
			spread(cost, fastest*times, t.Node, r, nodes)
			nodes++
		}
	}
	return t
}

// spread puts rank r on a node, and all that it reaches.
func spread(cost [][]float64, limit float64, node []int, r, number int) {
	node[r] = number
	for peer, c := range cost[r] {
		if peer != r && node[peer] < 0 && c <= limit {
			spread(cost, limit, node, peer, number)
		}
	}
}
