package collective

import (
	"context"

	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

// Slice returns the range [lo, hi) of a vector of length elements that rank r of n owns in a
// reduction. The slices of ranks 0 to n-1 follow each other and differ by one element at most.
func Slice(length, r, n int) (lo, hi int) {
	each, more := length/n, length%n
	lo = r*each + min(r, more)
	hi = lo + each
	if r < more {
		hi++
	}
	return lo, hi
}

// fused is several vectors as if they were one after the other, without copying them together.
type fused [][]float32

func (f fused) length() int {
	n := 0
	for _, v := range f {
		n += len(v)
	}
	return n
}

// each calls do with the ranges of the vectors that make up [lo, hi) of the whole.
func (f fused) each(lo, hi int, do func(v []float32)) {
	for _, v := range f {
		if from, to := max(lo, 0), min(hi, len(v)); from < to {
			do(v[from:to])
		}
		lo, hi = lo-len(v), hi-len(v)
	}
}

// appendViews appends the memory of [lo, hi) of the whole to bufs.
func (f fused) appendViews(bufs [][]byte, lo, hi int) [][]byte {
	f.each(lo, hi, func(v []float32) { bufs = append(bufs, view.Bytes(v)) })
	return bufs
}

// read copies [lo, hi) of the whole to dst, and write copies src there.
func (f fused) read(dst []float32, lo, hi int) {
	f.each(lo, hi, func(v []float32) { dst = dst[copy(dst, v):] })
}

func (f fused) write(src []float32, lo, hi int) {
	f.each(lo, hi, func(v []float32) { src = src[copy(v, src):] })
}

// reduce sums the tree over the leaves of all ranks and returns this rank's slice of the sum, which
// stands in the working memory until the next call. Rank r holds leaves[r] leaves. own has the
// nodes of this rank, each as the vectors of one fused vector of length elements, width of them.
// The number of leaves must not be zero.
//
// Direct: each rank sends each other that one's slice of its nodes, from where they stand, and
// folds what it gets. One step; a rank of k nodes sends k·(n-1)/n times the vector.
func (c *Comm) reduce(ctx context.Context, tag transport.Tag, leaves []int, own [][]float32, width, length int) ([]float32, error) {
	me, n := int(c.Rank()), c.Size()
	c.layOut(leaves)
	lo, hi := Slice(length, me, n)
	size := hi - lo
	c.staging = grow(c.staging, len(c.covers)*size)
	for r := range n {
		if r == me {
			continue
		}
		c.sendNodes(r, tag, own, width, length)
		if room := c.staging[c.first[r]*size : c.first[r+1]*size]; len(room) > 0 {
			c.x.recv(r, tag, view.Bytes(room))
		}
	}
	for k := range c.first[me+1] - c.first[me] {
		at := (c.first[me] + k) * size
		fused(own[k*width:(k+1)*width]).read(c.staging[at:at+size], lo, hi)
	}
	if err := c.step(ctx); err != nil {
		return nil, err
	}
	return tree.Fold(c.list(c.covers, c.staging, size)), nil
}

// layOut lists the nodes of all holders of leaves, ranks or machines, in order.
func (c *Comm) layOut(leaves []int) {
	c.covers, c.first = c.covers[:0], append(c.first[:0], 0)
	leaf := 0
	for _, count := range leaves {
		c.covers = tree.AppendCover(c.covers, leaf, leaf+count)
		c.first = append(c.first, len(c.covers))
		leaf += count
	}
}

// sendNodes sends rank r its slice of this rank's nodes, if it is not empty.
func (c *Comm) sendNodes(r int, tag transport.Tag, own [][]float32, width, length int) {
	lo, hi := Slice(length, r, c.Size())
	me := c.Rank()
	nodes := c.first[me+1] - c.first[me]
	if nodes == 0 || lo == hi {
		return
	}
	from := len(c.x.bufs)
	for k := range nodes {
		c.x.bufs = fused(own[k*width:(k+1)*width]).appendViews(c.x.bufs, lo, hi)
	}
	c.x.sends = append(c.x.sends, c.x.from(r, tag, from))
}

// list is the nodes of the tree at some positions, whose sums, of size elements each, follow each
// other in staging.
func (c *Comm) list(at []tree.Position, staging []float32, size int) []tree.Node {
	c.nodes = grow(c.nodes, len(at))
	for k, p := range at {
		c.nodes[k] = tree.Node{Level: p.Level, Index: p.Index, Sum: staging[k*size : (k+1)*size]}
	}
	return c.nodes
}

// gather gives every rank the slices of all ranks of the fused vector dst, of which mine is this
// rank's.
//
// Direct: each rank sends its slice to all others, who receive it where it belongs. One step,
// (n-1)/n times the vector.
func (c *Comm) gather(ctx context.Context, tag transport.Tag, mine []float32, dst fused, length int) error {
	me, n := int(c.Rank()), c.Size()
	for r := range n {
		lo, hi := Slice(length, r, n)
		if r == me {
			dst.write(mine, lo, hi)
			continue
		}
		if len(mine) > 0 {
			c.x.send(r, tag, view.Bytes(mine))
		}
		if lo < hi {
			from := len(c.x.bufs)
			c.x.bufs = dst.appendViews(c.x.bufs, lo, hi)
			c.x.recvs = append(c.x.recvs, c.x.from(r, tag, from))
		}
	}
	return c.step(ctx)
}
