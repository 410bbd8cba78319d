package alltoall

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// messageCosts predicts by what each message costs, within a node and to others. Those of a node
// send at the same time.
type messageCosts struct {
	within, between         time.Duration
	withinByte, betweenByte float64 // nanoseconds
}

func (c messageCosts) Validate() error { return nil }

func (c messageCosts) Round(r UniformRound) (slowest time.Duration) {
	for rank := range r.Ranks {
		nanos := 0.0
		sharing := len(r.Topology.Members(r.Ranks)[r.Topology.NodeOf(rank)])
		if r.Algorithm == Leader {
			sharing = 1
		}
		for _, s := range r.Algorithm.Steps(r.Topology, r.Ranks, rank) {
			for _, b := range s.Sends {
				n := float64(r.Bytes * len(b.Blocks))
				if r.Topology.NodeOf(b.Peer) == r.Topology.NodeOf(rank) {
					nanos += float64(c.within) + c.withinByte*n
					continue
				}
				nanos += float64(c.between) + c.betweenByte*math.Ceil(r.Crossing*n)*float64(sharing)
			}
		}
		slowest = max(slowest, time.Duration(nanos))
	}
	return slowest
}

// autoOn is the chooser of 8 ranks on nodes of two, which goes by costs.
func autoOn(costs Costs) *chooser {
	c := newChooser(Config{Placement: Even(8, 8), Dim: 64, Topology: Nodes(8, 2), Costs: costs}, 8)
	return &c
}

func slowBetween(alpha time.Duration) Costs {
	return messageCosts{within: time.Microsecond, withinByte: 0.1, between: alpha, betweenByte: 8}
}

// TestAutoFollowsTheCosts takes few messages if each is dear, and Direct without costs.
func TestAutoFollowsTheCosts(t *testing.T) {
	c := autoOn(slowBetween(100 * time.Microsecond))
	require.NotEqual(t, Direct, c.choose(64, Share{1, 1}))
	require.Equal(t, Rails, c.choose(4096, Share{1, 1}))
	c = autoOn(nil)
	require.Equal(t, Direct, c.choose(64, Share{1, 1}))
	require.Equal(t, Prediction{Algorithm: Direct}, c.predict(64, Share{1, 1})[0])
}

// TestAutoLeavesDirectForAQuarter: another algorithm is taken if Direct is predicted to take more
// than
// 1.25 times as long, and only then.
func TestAutoLeavesDirectForAQuarter(t *testing.T) {
	within, beyond := 0, 0
	for alpha := time.Microsecond; alpha < time.Millisecond; alpha += alpha/8 + 1 {
		c := autoOn(slowBetween(alpha))
		for bytes := 1; bytes <= 1<<16; bytes *= 2 {
			list := c.predict(bytes, Share{1, 1})
			best := slices.MinFunc(list, func(a, b Prediction) int {
				return cmp.Compare(a.Dispatch+a.Combine, b.Dispatch+b.Combine)
			})
			direct := list[slices.IndexFunc(list, func(p Prediction) bool { return p.Algorithm == Direct })]
			gain := float64(direct.Dispatch+direct.Combine) / float64(best.Dispatch+best.Combine)
			switch {
			case gain > 1.25:
				beyond++
				require.Equal(t, best.Algorithm, c.choose(bytes, Share{1, 1}), "%v, %d bytes, %.2f times as fast", alpha, bytes, gain)
			default:
				if best.Algorithm != Direct && gain > 1.1 {
					within++
				}
				require.Equal(t, Direct, c.choose(bytes, Share{1, 1}), "%v, %d bytes, %.2f times as fast", alpha, bytes, gain)
			}
		}
	}
	require.Positive(t, within, "no gain from 1.1 to 1.25 was tried")
	require.Positive(t, beyond)
}

// sums are costs of a round by each algorithm.
type sums map[Algorithm]time.Duration

func (s sums) Validate() error                    { return nil }
func (s sums) Round(r UniformRound) time.Duration { return s[r.Algorithm] }

// TestAutoKeepsDirectAtExactlyAQuarter: at 1.25 times the time it is still Direct, and no longer a
// nanosecond beyond.
func TestAutoKeepsDirectAtExactlyAQuarter(t *testing.T) {
	costs := sums{}
	for _, a := range Algorithms() {
		costs[a] = 1000
	}
	costs[Direct], costs[Rails] = 1000, 800
	require.Equal(t, Direct, autoOn(costs).choose(64, Share{1, 1}))
	costs[Direct]++
	require.Equal(t, Rails, autoOn(costs).choose(64, Share{1, 1}))
}

// TestNodesAreCountedUpToALimit: with more nodes counts would be longer than they are worth.
func TestNodesAreCountedUpToALimit(t *testing.T) {
	for ranks, want := range map[int]int{mostNodes - 1: mostNodes - 1, mostNodes: mostNodes, mostNodes + 1: 0} {
		c := newChooser(Config{
			Placement: Even(ranks, ranks), Dim: 64, Topology: Nodes(ranks, 1), Costs: slowBetween(time.Millisecond),
		}, ranks)
		require.Equal(t, want, c.countedNodes(), "%d nodes", ranks)
	}
}

// announced are announcements by which rank 0 sends the given number of rows to each other node and
// the others nothing.
func announced(c *chooser, rows int) []announcement {
	from := make([]announcement, c.ranks)
	for r := range from {
		from[r].toNode = make([]int, c.countedNodes())
	}
	for n := 1; n < len(from[0].toNode); n++ {
		from[0].toNode[n] = rows
		from[0].leaving += rows
	}
	from[0].crossings = crossings{rows: from[0].leaving, byNode: from[0].leaving, byRank: from[0].leaving}
	return from
}

// TestBusiestLink: what the busiest node sends or receives, as the mean over its pairs of ranks
// with others.
func TestBusiestLink(t *testing.T) {
	c := autoOn(slowBetween(time.Millisecond))
	require.Equal(t, 4, c.countedNodes())
	from := announced(c, 100)
	require.InDelta(t, 300./(2*6), c.busiest(from), 1e-9, "node 0 sends 300 rows over 2 × 6 pairs")
	from[2].toNode[3], from[4].toNode[3] = 500, 500
	require.InDelta(t, 1100./(2*6), c.busiest(from), 1e-9, "node 3 receives 1100")
	from[6].toNode[3] = 10_000
	require.InDelta(t, 1100./(2*6), c.busiest(from), 1e-9, "what stays on a node loads no link")
	require.Zero(t, c.busiest(announced(c, 0)))
}

// TestAutoGoesByTheBusiestLink: the same rows choose as long messages do if one node has them all,
// and as short ones do if every rank has its share.
func TestAutoGoesByTheBusiestLink(t *testing.T) {
	c := autoOn(slowBetween(100 * time.Microsecond))
	row := c.rowBytes
	differ := 0
	for rows := 8; rows <= 1<<20; rows *= 2 {
		from := announced(c, rows)
		mean, busy := float64(3*rows)/(8*7), c.busiest(from)
		require.Greater(t, busy, 4*mean)
		got := c.chooseFor(from, 1)
		require.Equal(t, c.choose(int(float64(row)*busy), Share{1, 1}), got, "%d rows", rows)
		if got != c.choose(int(float64(row)*mean), Share{1, 1}) {
			differ++
		}
		require.Equal(t, c.choose(int(float64(row)*busy)/4, Share{1, 1}), c.chooseFor(from, 4), "%d rows in four messages", rows)
	}
	require.Positive(t, differ, "the mean would always have chosen the same")
}

// TestAutoGoesByRepeatedTokens: rows of one token for several experts of a node make Rails slow or
// fast, those for several experts of a rank make Dedup so.
func TestAutoGoesByRepeatedTokens(t *testing.T) {
	c := autoOn(slowBetween(100 * time.Microsecond))
	nodes, ranks := 0, 0
	for rows := 8; rows <= 1<<20; rows *= 2 {
		bytes := int(float64(c.rowBytes) * c.busiest(announced(c, rows)))
		each := c.choose(bytes, Share{1, 1})
		require.Equal(t, each, c.chooseFor(announced(c, rows), 1), "no token is repeated")

		from := announced(c, rows)
		from[0].crossings.byNode /= 8
		require.Equal(t, c.choose(bytes, Share{1. / 8, 1}), c.chooseFor(from, 1), "a row in eight crosses")
		if c.chooseFor(from, 1) != each {
			nodes++
		}
		from = announced(c, rows)
		from[0].crossings.byRank /= 8
		require.Equal(t, c.choose(bytes, Share{1, 1. / 8}), c.chooseFor(from, 1), "a row in eight leaves")
		if c.chooseFor(from, 1) != each {
			ranks++
		}
	}
	require.Positive(t, nodes, "repeated tokens on a node never mattered")
	require.Positive(t, ranks, "repeated tokens on a rank never mattered")
}

// TestOneRankPredictsNothing, nor does a configured algorithm, and no node's rows are counted.
func TestOneRankPredictsNothing(t *testing.T) {
	for _, c := range []chooser{
		newChooser(Config{Placement: Even(8, 1), Dim: 64, Costs: slowBetween(time.Millisecond)}, 1),
		newChooser(Config{Placement: Even(8, 8), Dim: 64, Costs: slowBetween(time.Millisecond), Algorithm: Direct}, 8),
		newChooser(Config{Placement: Even(8, 8), Dim: 64}, 8),
	} {
		require.False(t, c.predicts())
		require.Zero(t, c.countedNodes())
		require.Equal(t, Direct, c.chooseForCounts())
		require.Equal(t, 4*(countsHeader+8/c.ranks), c.countsBytes)
	}
}
