// Package tree sums float32 vectors in an order that does not depend on who holds them.
//
// Floating-point addition is not associative, so a sum over ranks gives other bits when the number
// of ranks changes, unless its order is fixed by what is summed. Here it is a binary tree over the
// leaves, of which a job has as many on 8 ranks as on one. Node (level h, index i) covers the
// leaves [i<<h, (i+1)<<h) that exist, and its sum is that of its left child plus that of its right
// child; where no leaf of the right child exists, the left child's sum is passed up unchanged. A
// rank sums the subtrees whose leaves it holds all ([Sum]), the ranks' nodes together are summed to
// the root ([Fold]), and every split of the leaves gives the same bits.
package tree

import (
	"math/bits"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Place says where a node stands: it covers the leaves from Index<<Level up to but not including
// (Index+1)<<Level.
type Place struct {
	// Level is the height above the leaves, which are at 0.
	Level int
	// Index is the number of the node on its level, from the left, from 0.
	Index int
}

// Leaves returns the range [lo, hi) of leaves that a whole node at p covers.
func (p Place) Leaves() (lo, hi int) { return p.Index << p.Level, (p.Index + 1) << p.Level }

// siblings tells whether p and q are the left and right child of one node.
func siblings(p, q Place) bool {
	return p.Level == q.Level && p.Index+1 == q.Index && p.Index&1 == 0
}

func (p Place) parent() Place { return Place{p.Level + 1, p.Index >> 1} }

// Cover returns the maximal whole nodes within the leaves [lo, hi), in leaf order: what a [Sum]
// over those leaves ends with, so that a receiver knows which nodes come. They are at most twice as
// many as hi-lo has bits. An empty range has none.
func Cover(lo, hi int) []Place { return AppendCover(nil, lo, hi) }

// AppendCover appends Cover(lo, hi) to dst and returns it. It panics if lo is negative or hi less
// than lo.
func AppendCover(dst []Place, lo, hi int) []Place {
	if lo < 0 || hi < lo {
		panic("tree: Cover of a range that is negative or reversed")
	}
	for lo < hi {
		level := bits.Len(uint(hi-lo)) - 1
		if lo > 0 {
			level = min(level, bits.TrailingZeros(uint(lo)))
		}
		dst = append(dst, Place{level, lo >> level})
		lo += 1 << level
	}
	return dst
}

// Node is a node of the tree and its sum.
type Node struct {
	// Level and Index say where the node stands, as in [Place].
	Level, Index int
	// Sum is the sum of the node's leaves.
	Sum []float32
}

// Place returns where n stands.
func (n Node) Place() Place { return Place{n.Level, n.Index} }

// Fold returns the sum of the whole tree, given whole nodes in leaf order that cover all its leaves
// without a gap, cut between holders in any way. It adds in place: the result is nodes[0].Sum, and
// the other nodes' sums and the elements of nodes are overwritten. No nodes give nil. It panics if
// a leaf is missing or the lengths differ.
func Fold(nodes []Node) []float32 {
	check(nodes)
	kept := 0
	for _, n := range nodes {
		nodes[kept] = n
		kept++
		kept = merge(nodes[:kept])
	}
	if kept == 0 {
		return nil
	}
	// What is left is the right edge of the tree: each node is passed up until it meets the one
	// before it.
	for i := kept - 1; i > 0; i-- {
		f32.Add(nodes[i-1].Sum, nodes[i].Sum)
	}
	return nodes[0].Sum
}

// merge adds up siblings at the end of nodes until there are none, and returns how many nodes are
// left.
func merge(nodes []Node) int {
	n := len(nodes)
	for n > 1 && siblings(nodes[n-2].Place(), nodes[n-1].Place()) {
		left := &nodes[n-2]
		f32.Add(left.Sum, nodes[n-1].Sum)
		up := left.Place().parent()
		left.Level, left.Index = up.Level, up.Index
		n--
	}
	return n
}

func check(nodes []Node) {
	end := 0
	for _, n := range nodes {
		lo, hi := n.Place().Leaves()
		if lo != end {
			panic("tree: Fold of nodes that do not cover the leaves in order")
		}
		if len(n.Sum) != len(nodes[0].Sum) {
			panic("tree: Fold of sums of different lengths")
		}
		end = hi
	}
}
