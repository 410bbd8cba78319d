package links

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// Link is the cost of a message: Alpha, and Beta for each byte.
type Link struct {
	Alpha time.Duration
	// Beta is in nanoseconds a byte: 8 for 1 Gb/s.
	Beta float64
}

// Links are the costs of messages within a node, from one rank to another, and between nodes, over
// the link that the ranks of a node share. The zero value means that they are not known.
type Links struct {
	Within, Between Link
	// Rounds are the times of whole rounds, if they have been measured. They say more than the
	// times of single messages: how long ranks wait for each other, and how they share processors
	// and links.
	Rounds Rounds
}

var _ alltoall.Costs = Links{}

// Rounds are the times of rounds between a number of ranks, by algorithm, for messages of a few
// lengths.
type Rounds struct {
	Ranks int
	// Bytes are the lengths, in ascending order.
	Bytes [roundSizes]int
	// Times are indexed by algorithm and length.
	Times [alltoall.NumAlgorithms][roundSizes]time.Duration
}

const roundSizes = 4

// at returns the time of a round with messages of the given length, interpolated between the two
// lengths next to it.
func (r *Rounds) at(a alltoall.Algorithm, bytes int) time.Duration {
	i := 1
	for i < roundSizes-1 && bytes > r.Bytes[i] {
		i++
	}
	t := r.Times[a][i-1:]
	slope := float64(t[1]-t[0]) / float64(max(r.Bytes[i]-r.Bytes[i-1], 1))
	return max(t[0]+time.Duration(slope*float64(bytes-r.Bytes[i-1])), 1)
}

// Validate returns an error if a cost is negative or not finite, or Rounds are not in order.
func (l Links) Validate() error {
	for _, c := range []Link{l.Within, l.Between} {
		if c.Alpha < 0 || !(c.Beta >= 0 && c.Beta <= math.MaxFloat64) {
			return fmt.Errorf("alltoall: link of %v and %v ns a byte, must not be negative, and finite", c.Alpha, c.Beta)
		}
	}
	if l.Rounds.Ranks > 0 && !slices.IsSorted(l.Rounds.Bytes[:]) {
		return fmt.Errorf("alltoall: rounds of %v bytes, must ascend", l.Rounds.Bytes)
	}
	return nil
}

// Round predicts the time of the slowest rank in one round: as measured for this number of ranks,
// less what does not cross between nodes; or else from the costs of its messages.
func (l Links) Round(r alltoall.UniformRound) time.Duration {
	var slowest, saved time.Duration
	measured := l.Rounds.Ranks == r.Ranks
	if !measured || r.Crossing < 1 {
		nodes := r.Topology.Members(r.Ranks)
		for rank := range r.Ranks {
			c := costed{links: &l, topology: r.Topology, node: nodes[r.Topology.NodeOf(rank)], rank: rank}
			steps := r.Algorithm.Steps(r.Topology, r.Ranks, rank)
			whole := c.of(r.Algorithm, steps, r.Bytes, 1).Time
			less := c.of(r.Algorithm, steps, r.Bytes, r.Crossing).Time
			slowest, saved = max(slowest, less), max(saved, whole-less)
		}
	}
	if !measured {
		return slowest
	}
	return max(l.Rounds.at(r.Algorithm, r.Bytes)-saved, l.Rounds.at(r.Algorithm, 0))
}

// Cost is what one rank sends in an algorithm in which all blocks have the same number of bytes,
// and the time that is predicted.
type Cost struct {
	Steps int
	// Within and Between are the numbers of messages within the rank's node and to other nodes.
	Within, Between int
	// BytesWithin and BytesBetween are the bytes that the rank sends.
	BytesWithin, BytesBetween int
	Time                      time.Duration
}

// Cost predicts a round by algorithm a for one rank. In a step, each message costs the rank its
// link's Alpha; each byte within the node its Beta; and each byte to other nodes Beta of the link
// between nodes, times the number of ranks of the node that send as much at the same time: all of
// them, but in Leader one. The algorithm's time is that of the slowest rank.
func (l Links) Cost(a alltoall.Algorithm, t alltoall.Topology, ranks, rank, bytes int) Cost {
	c := costed{links: &l, topology: t, node: t.Members(ranks)[t.NodeOf(rank)], rank: rank}
	return c.of(a, a.Steps(t, ranks, rank), bytes, 1)
}

// costed is a rank whose steps are costed, and the ranks of its node.
type costed struct {
	links    *Links
	topology alltoall.Topology
	node     []int
	rank     int
}

// of is the cost of the rank's steps if only a share of the bytes between nodes crosses.
func (r *costed) of(a alltoall.Algorithm, steps []alltoall.Step, bytes int, share float64) Cost {
	l, c, nanos, sharing := r.links, Cost{Steps: len(steps)}, 0.0, len(r.node)
	if a == alltoall.Leader {
		sharing = 1
	}
	for _, s := range steps {
		for _, b := range s.Sends {
			n := bytes * len(b.Blocks)
			if r.topology.NodeOf(b.Peer) == r.topology.NodeOf(r.rank) {
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
