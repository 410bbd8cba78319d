package collective

import (
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

// AllReduce sums x, of the same length on every rank, over the ranks, in place: all ranks end with
// the same bits. The order of summation is the binary tree over ranks, so the bits depend on the
// vectors of the ranks and their number alone; for sums that do not depend on the number either see
// [Comm.AllReduceTree].
//
// A reduce-scatter and an all-gather, both direct: two steps, 2·(n-1)/n times x sent by each rank.
// A long x is summed within nodes first, if they are known: see [Comm.SetNodes]. That changes no
// bit.
func (c *Comm) AllReduce(ctx context.Context, x []float32) error {
	return c.call("all-reduce", func(tag transport.Tag) error {
		defer c.forget()
		c.one[0] = x
		return c.sum(ctx, tag, c.ones, c.one[:], c.one[:])
	})
}

// sum sums the tree over the leaves of all ranks, of which rank r holds leaves[r], into dst. own
// has the nodes of this rank, one after the other, each as vectors as long as those of dst. The
// number of leaves must not be zero.
func (c *Comm) sum(ctx context.Context, tag transport.Tag, leaves []int, own [][]float32, dst fused) error {
	length := dst.length()
	if c.topology.takes(length) {
		return c.sumByNode(ctx, tag, leaves, own, dst)
	}
	sum, err := c.reduce(ctx, tag, leaves, own, len(dst), length)
	if err != nil {
		return err
	}
	return c.gather(ctx, tag+1, sum, dst, length)
}

// AllReduceTree sums vectors over the leaves of one tree that the ranks hold together, so that the
// totals have the bits that one rank with all leaves would get from [tree.Sum.Total].
//
// Rank r holds leaves[r] leaves, which follow those of rank r-1; leaves is the same on every rank.
// Each of sums has all leaves of this rank and no others; there are as many sums, of the same
// lengths, on every rank. The total of sums[i] is written to dst[i], which has its length and must
// not alias the memory of a sum. The sums do not change. Without any leaf the totals are zero.
//
// The sums are treated as one long vector. A reduce-scatter of the subtrees of the ranks
// ([tree.Cover]), sent from where they stand, and an all-gather, both direct: two steps. A rank
// that holds k subtrees sends (k+1)·(n-1)/n times the vector; k is 1 if each rank has the same
// number of leaves and that is a power of two. A long vector is summed within nodes first, if they
// are known: see [Comm.SetNodes].
func (c *Comm) AllReduceTree(ctx context.Context, leaves []int, dst [][]float32, sums ...*tree.Sum) error {
	if err := c.checkTree(leaves, dst, sums); err != nil {
		return err
	}
	return c.call("all-reduce", func(tag transport.Tag) error {
		defer c.forget()
		if mat.Sum(leaves) == 0 {
			for _, d := range dst {
				clear(d)
			}
			return nil
		}
		c.own = c.own[:0]
		for k := range c.held(sums) {
			for _, s := range sums {
				c.own = append(c.own, s.Nodes()[k].Sum)
			}
		}
		return c.sum(ctx, tag, leaves, c.own, dst)
	})
}

// held returns the number of nodes that each of sums holds.
func (c *Comm) held(sums []*tree.Sum) int {
	if len(sums) == 0 {
		return 0
	}
	return len(sums[0].Nodes())
}

// checkTree returns an error unless the arguments of AllReduceTree fit together.
func (c *Comm) checkTree(leaves []int, dst [][]float32, sums []*tree.Sum) error {
	if len(leaves) != c.Size() || slices.ContainsFunc(leaves, func(n int) bool { return n < 0 }) {
		return c.misuse("all-reduce", "leaves %v for %d ranks", leaves, c.Size())
	}
	if len(dst) != len(sums) {
		return c.misuse("all-reduce", "%d vectors for %d sums", len(dst), len(sums))
	}
	lo := mat.Sum(leaves[:c.Rank()])
	hi := lo + leaves[c.Rank()]
	for i, s := range sums {
		if len(dst[i]) != s.Len() {
			return c.misuse("all-reduce", "dst[%d] has %d elements, its sum %d", i, len(dst[i]), s.Len())
		}
		if !s.Holds(lo, hi) {
			return c.misuse("all-reduce", "sum %d does not hold leaves %d to %d and no others", i, lo, hi-1)
		}
	}
	return nil
}
