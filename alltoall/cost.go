package alltoall

import (
	"fmt"
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
type Links struct{ Within, Between Link }

// Validate reports what is wrong with l, or nil.
func (l Links) Validate() error {
	for _, c := range []Link{l.Within, l.Between} {
		if c.Alpha < 0 || !(c.Beta >= 0) {
			return fmt.Errorf("alltoall: link of %v and %v ns a byte, must not be negative", c.Alpha, c.Beta)
		}
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

// Cost predicts algorithm a with blocks of so many bytes, for one rank as it sees it: in a step, each message costs the rank its link's
// Alpha; each byte within the node its Beta; and each byte to other nodes Beta of the link between nodes, as often as ranks of the
// node send as much at the same time, which only Leader's do not. The slowest rank's is the algorithm's.
func (l Links) Cost(a Algorithm, t Topology, ranks, rank, bytes int) Cost {
	return l.cost(a, t.on(ranks), a.Steps(t, ranks, rank), rank, bytes)
}

func (l Links) cost(a Algorithm, o on, steps []Step, rank, bytes int) Cost {
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
			c.Between++
			c.BytesBetween += n
			nanos += float64(l.Between.Alpha) + l.Between.Beta*float64(n*sharing)
		}
	}
	c.Time = time.Duration(nanos)
	return c
}

// choice is the predicted time of an algorithm.
type choice struct {
	a    Algorithm
	time time.Duration
}

// predict returns the predicted times of the slowest rank at a message size. All ranks that ask for one size get the same.
func (x *Exchange) predict(bytes int) []choice {
	var list []choice
	o := x.topology.on(x.size())
	for _, a := range Algorithms() {
		worst := time.Duration(0)
		for r := range x.size() {
			worst = max(worst, x.links.cost(a, o, a.Steps(x.topology, x.size(), r), r, bytes).Time)
		}
		list = append(list, choice{a, worst})
	}
	return list
}

// choose returns the algorithm for messages of so many bytes in the mean. Sizes are rounded to a power of two, so that few are ever predicted.
func (x *Exchange) choose(bytes int) Algorithm {
	if x.algorithm != Auto {
		return x.algorithm
	}
	if x.links == (Links{}) || x.size() < 2 {
		return Direct
	}
	size := 1
	for size < bytes {
		size *= 2
	}
	a, ok := x.chosen[size]
	if !ok {
		best := x.predict(size)
		a = best[0].a
		for i, c := range best {
			if c.time < best[0].time {
				best[0], a = best[i], c.a
			}
		}
		x.chosen[size] = a
	}
	return a
}

// Explain says what is chosen for messages of so many bytes in the mean, and why.
func (x *Exchange) Explain(bytes int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d bytes a message: %s", bytes, x.choose(bytes))
	switch {
	case x.algorithm != Auto:
		b.WriteString(", as configured")
	case x.links == (Links{}):
		b.WriteString(", as the cost of links is unknown")
	default:
		for _, c := range x.predict(bytes) {
			fmt.Fprintf(&b, "\n  %-12s %v", c.a, c.time)
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
