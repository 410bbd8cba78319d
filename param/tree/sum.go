package tree

import (
	"fmt"
	"slices"
	"sort"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Sum adds float32 vectors of one length, the leaves, over a fixed binary tree. Its owner enters
// the leaves that it holds with [Sum.Leaf] or [Sum.Addend], in any order, and reads the complete
// subtrees with [Sum.Nodes] or the sum of all leaves with [Sum.Total]. The result depends on the
// leaves' numbers and values alone, not on the order in which they came.
//
// It keeps one vector for each subtree held: if leaves come in ascending order, about two for each
// bit of their number. A Sum is not safe for concurrent use.
type Sum struct {
	length int
	nodes  []Node      // what is held, in leaf order
	open   int         // which of them may still be written to by the caller
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

// Leaf enters leaf i and returns its vector, all zero, which the caller writes before its next call
// on s. Leaves may be missing in between. It panics if i is negative or has been entered since the
// last Reset.
func (s *Sum) Leaf(i int) []float32 {
	v := s.blank(i)
	clear(v)
	return v
}

// blank is Leaf for a caller that writes all of the vector: what is in it now is left over from
// others.
func (s *Sum) blank(i int) []float32 { return s.enter(Position{Index: i}) }

// Addend enters leaf i as [Sum.Leaf] does, and saves a pass over memory. If add is true the caller
// adds its leaf to v, one rounded sum for each element; otherwise v has arbitrary contents and the
// caller overwrites all of it. add is true if the leaf's left sibling was entered before, whose
// vector then takes the sum of both.
func (s *Sum) Addend(i int) (v []float32, add bool) {
	s.settle()
	if i%2 == 1 {
		for at := range s.nodes {
			if left := &s.nodes[at]; left.Level == 0 && left.Index == i-1 {
				left.Level, left.Index, s.open = 1, i/2, at
				return left.Sum, true
			}
		}
	}
	return s.blank(i), false
}

// enter begins the node at p.
func (s *Sum) enter(p Position) []float32 {
	s.settle()
	first, end := p.Leaves()
	if first < 0 {
		panic(fmt.Sprintf("tree: leaf %d", first))
	}
	at := sort.Search(len(s.nodes), func(k int) bool {
		_, next := s.nodes[k].Position().Leaves()
		return first < next
	})
	if at < len(s.nodes) {
		if begin, next := s.nodes[at].Position().Leaves(); begin < end {
			panic(fmt.Sprintf("tree: leaf %d has been entered, with those from %d to %d", max(first, begin), begin, next-1))
		}
	}
	v := s.vector()
	s.nodes = slices.Insert(s.nodes, at, Node{Level: p.Level, Index: p.Index, Sum: v})
	s.open = at
	return v
}

// Nodes returns the maximal complete subtrees held, in leaf order: those of [Cover] for each range
// of consecutive leaves. The slice and the vectors belong to s, and the caller may read them until
// the next Leaf, Addend, Subtree or Reset.
func (s *Sum) Nodes() []Node {
	s.settle()
	return s.nodes
}

// Total returns the sum of all leaves held, in the order of the tree: a node without a right
// sibling is passed up unchanged. It is a vector of zeros if no leaf is held, and the sum of the
// whole tree only if all its leaves are held. The vector belongs to s, and the caller may read it
// until its next call on s. The leaves stay held.
func (s *Sum) Total() []float32 {
	s.settle()
	last := len(s.nodes) - 1
	if last == 0 {
		return s.nodes[0].Sum
	}
	if s.total == nil {
		s.total = s.vector()
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

// Holds tells whether the leaves held are exactly those of [first, end).
func (s *Sum) Holds(first, end int) bool {
	for _, n := range s.Nodes() {
		begin, next := n.Position().Leaves()
		if begin != first {
			return false
		}
		first = next
	}
	return first == end
}

// Take returns the vector of [Sum.Total], which then belongs to the caller, and forgets all leaves.
// In exchange s may use v again, or return it, if it has the length of s's vectors, so that nothing
// is copied or allocated.
func (s *Sum) Take(v []float32) []float32 {
	s.settle()
	given := len(v) == s.length
	if given && s.total == nil && len(s.nodes) != 1 { // s may have no spare vector: see Swap
		s.total, given = v, false
	}
	t := s.Total()
	if len(s.nodes) == 1 {
		s.nodes = s.nodes[:0]
	} else {
		s.total = nil
	}
	s.Reset()
	if given {
		s.spare = append(s.spare, v)
	}
	return t
}

// Reset forgets all leaves. It keeps the memory of their vectors for later leaves.
func (s *Sum) Reset() {
	for i := range s.nodes {
		s.spare = append(s.spare, s.nodes[i].Sum)
	}
	s.nodes, s.open = s.nodes[:0], 0
}

// Free forgets all leaves, and the memory of their vectors.
func (s *Sum) Free() { *s = Sum{length: s.length} }

// settle merges what is complete, now that the caller has written its last leaf: that node with its
// sibling, and what becomes of them again.
func (s *Sum) settle() {
	for {
		i := s.open
		switch n := len(s.nodes); {
		case i > 0 && i < n && siblings(s.nodes[i-1].Position(), s.nodes[i].Position()):
			s.open = i - 1
		case i+1 < n && siblings(s.nodes[i].Position(), s.nodes[i+1].Position()):
		default:
			return
		}
		s.spare = append(s.spare, s.nodes[s.open+1].Sum)
		merge(s.nodes[s.open : s.open+2])
		s.nodes = slices.Delete(s.nodes, s.open+1, s.open+2)
	}
}

// vector returns a vector, with whatever it holds.
func (s *Sum) vector() []float32 {
	last := len(s.spare) - 1
	if last < 0 {
		return make([]float32, s.length)
	}
	v := s.spare[last]
	s.spare = s.spare[:last]
	return v
}

// Swap exchanges all that two sums of vectors of one length hold; the memory that neither needs now
// is then s's. Where several passes are under way each has a sum of its own, with, which takes the
// place of the one that a gate or an expert enters leaves into, s, for as long as that computes for
// this pass: so they share the memory of what is merged. It panics if the lengths differ.
func (s *Sum) Swap(with *Sum) {
	if s.length != with.length {
		panic("tree: Swap of sums of different lengths")
	}
	s.settle()
	with.settle()
	all, none := append(s.spare, with.spare...), with.spare[:0]
	clear(with.spare)
	*s, *with = *with, *s
	s.spare, with.spare = all, none
}
