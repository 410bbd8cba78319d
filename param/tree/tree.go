// Package tree sums float32 vectors in an order that does not depend on which rank holds them.
//
// Floating-point addition is not associative, so a sum over ranks has other bits when the number of
// ranks changes, unless what is summed fixes its order. Here the order is a binary tree over the
// leaves, whose number does not depend on the number of ranks. The node with index i on level h
// covers those of the leaves [i<<h, (i+1)<<h) that exist. Its sum is that of its left child plus
// that of its right child; if no leaf of the right child exists, the sum of the left child is
// passed up unchanged. A rank sums the subtrees whose leaves it holds completely ([Sum]), and the
// nodes of all ranks together are summed to the root ([Fold]). Every division of the leaves between
// ranks gives the same bits.
package tree

import (
	"math/bits"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Position is the position of a node in the tree.
type Position struct {
	// Level is the height above the leaves, which are on level 0.
	Level int
	// Index is the number of the node on its level, from 0 at the left.
	Index int
}

// Leaves returns the leaves [lo, hi) that a node at p covers: from Index<<Level up to but not
// including (Index+1)<<Level.
func (p Position) Leaves() (lo, hi int) { return p.Index << p.Level, (p.Index + 1) << p.Level }

// siblings tells whether p and q are the left and right child of one node.
func siblings(p, q Position) bool {
	return p.Level == q.Level && p.Index+1 == q.Index && p.Index&1 == 0
}

func (p Position) parent() Position { return Position{p.Level + 1, p.Index >> 1} }

// Cover returns the positions of the maximal complete nodes within the leaves [lo, hi), in leaf
// order. They are those of the nodes of a [Sum] over these leaves, so a receiver knows which nodes
// a sender has. There are at most twice as many as hi-lo has bits; an empty range has none.
func Cover(lo, hi int) []Position { return AppendCover(nil, lo, hi) }

// AppendCover appends Cover(lo, hi) to dst and returns it. It panics if lo is negative or hi less
// than lo.
func AppendCover(dst []Position, lo, hi int) []Position {
	if lo < 0 || hi < lo {
		panic("tree: Cover of a range that is negative or reversed")
	}
	for lo < hi {
		level := bits.Len(uint(hi-lo)) - 1
		if lo > 0 {
			level = min(level, bits.TrailingZeros(uint(lo)))
		}
		dst = append(dst, Position{level, lo >> level})
		lo += 1 << level
	}
	return dst
}

// Node is a node of the tree and its sum.
type Node struct {
	// Level and Index are the node's [Position].
	Level, Index int
	// Sum is the sum of the node's leaves.
	Sum []float32
}

// Position returns the position of n.
func (n Node) Position() Position { return Position{n.Level, n.Index} }

// Fold returns the sum of the whole tree, given complete nodes in leaf order that cover all its
// leaves without a gap, however the leaves were divided between ranks. It adds in place: the result
// is nodes[0].Sum, and the other sums and the elements of nodes are overwritten. Without nodes it
// returns nil. It panics if a leaf is missing or the lengths of the sums differ.
func Fold(nodes []Node) []float32 {
	check(nodes)
	nodes = Merge(nodes)
	if len(nodes) == 0 {
		return nil
	}
	// What is left is the right edge of the tree: each node is passed up until it meets the one
	// before it.
	for i := len(nodes) - 1; i > 0; i-- {
		f32.Add(nodes[i-1].Sum, nodes[i].Sum)
	}
	return nodes[0].Sum
}

// Merge adds up siblings among complete nodes, which are in leaf order, until there are none, and
// returns what is left: for nodes of consecutive leaves those at [Cover] of them. So ranks whose
// leaves follow each other send fewer sums together than each for itself. It adds in place: what is
// left is in the memory of nodes and of their sums, and the rest is overwritten. The lengths of the
// sums must be the same.
func Merge(nodes []Node) []Node {
	kept := 0
	for _, n := range nodes {
		nodes[kept] = n
		kept++
		kept = merge(nodes[:kept])
	}
	return nodes[:kept]
}

// merge adds up siblings at the end of nodes until there are none, and returns how many nodes are
// left.
func merge(nodes []Node) int {
	n := len(nodes)
	for n > 1 && siblings(nodes[n-2].Position(), nodes[n-1].Position()) {
		left := &nodes[n-2]
		f32.Add(left.Sum, nodes[n-1].Sum)
		up := left.Position().parent()
		left.Level, left.Index = up.Level, up.Index
		n--
	}
	return n
}

func check(nodes []Node) {
	end := 0
	for _, n := range nodes {
		lo, hi := n.Position().Leaves()
		if lo != end {
			panic("tree: Fold of nodes that do not cover the leaves in order")
		}
		if len(n.Sum) != len(nodes[0].Sum) {
			panic("tree: Fold of sums of different lengths")
		}
		end = hi
	}
}
