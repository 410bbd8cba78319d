package tree

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Sum adds up float32 vectors of one length over a fixed binary tree of leaves. The holder of some leaves enters
// them in ascending order with Leaf, and reads the subtrees that it holds whole with Nodes, or the sum of all with
// Total. It keeps one vector for each node held, at most about two for each bit of the number of leaves.
// It is for one goroutine.
type Sum struct {
	length int
	nodes  []Node      // what is held, in leaf order; the last one may still be written to by the caller
	spare  [][]float32 // vectors to be used again
	total  []float32
}

// NewSum returns an empty sum of vectors of length elements. It panics if length is negative.
func NewSum(length int) *Sum {
	if length < 0 {
		panic("tree: NewSum of a negative length")
	}
	return &Sum{length: length}
}

// Len returns the length of the vectors.
func (s *Sum) Len() int { return s.length }

// Leaf begins leaf i and returns its vector, all zero, for the caller to write until its next call on s. Leaves
// ascend until Reset; gaps are allowed between ranges that are held apart. It panics if i does not ascend.
func (s *Sum) Leaf(i int) []float32 {
	s.settle()
	if last := len(s.nodes) - 1; last >= 0 {
		if _, next := s.nodes[last].Place().Leaves(); i < next {
			panic(fmt.Sprintf("tree: leaf %d after leaf %d", i, next-1))
		}
	} else if i < 0 {
		panic(fmt.Sprintf("tree: leaf %d", i))
	}
	v := s.vector()
	s.nodes = append(s.nodes, Node{Index: i, Sum: v})
	return v
}

// Nodes returns the maximal subtrees held, in leaf order: those of [Cover] for each range of leaves held. The slice
// and the vectors are s's own, for the caller to read until Leaf or Reset.
func (s *Sum) Nodes() []Node {
	s.settle()
	return s.nodes
}

// Total returns the sum of everything held by the tree's rule, a node whose right sibling is absent being passed
// up unchanged, and a vector of zeros if no leaf is held. Only if all leaves of the tree are held is it the tree's
// sum. The vector is s's own, for the caller to read until its next call on s. The nodes stay as they are.
func (s *Sum) Total() []float32 {
	s.settle()
	last := len(s.nodes) - 1
	if last == 0 {
		return s.nodes[0].Sum
	}
	if s.total == nil {
		s.total = make([]float32, s.length)
	}
	if last < 0 {
		clear(s.total)
		return s.total
	}
	// Addition commutes bit for bit, so the right operand may be the one that is overwritten.
	copy(s.total, s.nodes[last].Sum)
	for i := last - 1; i >= 0; i-- {
		f32.Add(s.total, s.nodes[i].Sum)
	}
	return s.total
}

// Reset forgets all leaves. The vectors are kept to be used again.
func (s *Sum) Reset() {
	for i := range s.nodes {
		s.spare = append(s.spare, s.nodes[i].Sum)
	}
	s.nodes = s.nodes[:0]
}

// settle merges what is complete, now that the caller has written its last leaf.
func (s *Sum) settle() {
	kept := merge(s.nodes)
	for _, n := range s.nodes[kept:] {
		s.spare = append(s.spare, n.Sum)
	}
	s.nodes = s.nodes[:kept]
}

// vector returns a vector of zeros.
func (s *Sum) vector() []float32 {
	last := len(s.spare) - 1
	if last < 0 {
		return make([]float32, s.length)
	}
	v := s.spare[last]
	s.spare = s.spare[:last]
	clear(v)
	return v
}
