package alltoall

import (
	"fmt"
	"slices"
)

// Topology says on which node each rank is. Links within a node are fast; all ranks of a node share
// its link to the other nodes. The zero value puts all ranks on one node.
type Topology struct {
	// Node is the number of each rank's node, from 0 on without gaps.
	Node []int
}

// Nodes returns the topology of nodes with the given number of consecutive ranks each; the last may
// have fewer.
func Nodes(ranks, each int) Topology {
	t := Topology{Node: make([]int, ranks)}
	for r := range t.Node {
		t.Node[r] = r / max(each, 1)
	}
	return t
}

// Validate returns an error unless t is a topology of the given number of ranks.
func (t Topology) Validate(ranks int) error {
	if len(t.Node) == 0 {
		return nil
	}
	if len(t.Node) != ranks {
		return fmt.Errorf("alltoall: topology of %d ranks, want %d", len(t.Node), ranks)
	}
	nodes := slices.Max(t.Node) + 1
	seen := make([]bool, max(min(nodes, ranks), 0))
	for r, n := range t.Node {
		if n < 0 || n >= len(seen) {
			return fmt.Errorf("alltoall: topology has rank %d on node %d, want 0 to %d without gaps", r, n, ranks-1)
		}
		seen[n] = true
	}
	if n := slices.Index(seen, false); n >= 0 {
		return fmt.Errorf("alltoall: topology has no rank on node %d", n)
	}
	return nil
}

// NodeOf returns the number of a rank's node.
func (t Topology) NodeOf(rank int) int {
	if len(t.Node) == 0 {
		return 0
	}
	return t.Node[rank]
}

// Members returns the ranks of each node, in ascending order.
func (t Topology) Members(ranks int) [][]int { return t.on(ranks).members }

// on is a topology in the form that algorithms use.
type on struct {
	node    []int   // of each rank
	local   []int   // each rank's position on its node
	members [][]int // ranks of each node, ascending
}

func (t Topology) on(ranks int) on {
	o := on{node: t.Node, local: make([]int, ranks)}
	if len(o.node) == 0 {
		o.node = make([]int, ranks)
	}
	for r, n := range o.node {
		for len(o.members) <= n {
			o.members = append(o.members, nil)
		}
		o.local[r] = len(o.members[n])
		o.members[n] = append(o.members[n], r)
	}
	return o
}

func (o on) ranks() int { return len(o.node) }

// rail is the rank of a node at local position j, modulo the number of its ranks.
func (o on) rail(node, j int) int { return o.members[node][j%len(o.members[node])] }
