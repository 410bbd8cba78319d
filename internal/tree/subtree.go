package tree

import "fmt"

// Subtree begins the node at p, whose sum somebody else has formed, in place of its leaves, and returns its vector, all
// zero, for the caller to write until its next call on s. It stands in for calls of [Sum.Leaf] with all of the
// node's leaves in turn, and panics where the first of those would.
func (s *Sum) Subtree(p Place) []float32 {
	s.settle()
	first, _ := p.Leaves()
	if last := len(s.nodes) - 1; last >= 0 {
		if _, next := s.nodes[last].Place().Leaves(); first < next {
			panic(fmt.Sprintf("tree: subtree from leaf %d after leaf %d", first, next-1))
		}
	} else if first < 0 {
		panic(fmt.Sprintf("tree: subtree from leaf %d", first))
	}
	v := s.vector()
	s.nodes = append(s.nodes, Node{Level: p.Level, Index: p.Index, Sum: v})
	return v
}
