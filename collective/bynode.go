package collective

import (
	"context"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

// A node here is one of the topology, a machine; those of the tree are called subtrees.

// sumByNode is sum in four steps, two within nodes and two between them.
func (c *Comm) sumByNode(ctx context.Context, tag transport.Tag, leaves []int, own [][]float32, dst fused) error {
	p := c.topology.place(c.Rank(), dst.length())
	held, err := c.reduceWithin(ctx, tag, p, leaves, own, len(dst))
	if err != nil {
		return err
	}
	sum, err := c.reduceBetween(ctx, tag+1, p, leaves, held)
	if err != nil {
		return err
	}
	if err := c.gatherBetween(ctx, tag+2, p, sum, dst); err != nil {
		return err
	}
	return c.gatherWithin(ctx, tag+3, p, dst)
}

// reduceWithin returns the subtrees that the ranks of this node hold together, of this rank's share
// of the vector. They stand in the working memory.
func (c *Comm) reduceWithin(ctx context.Context, tag transport.Tag, p place, leaves []int, own [][]float32, width int) ([]tree.Node, error) {
	c.layOut(leaves)
	first, end := p.first[p.node], p.first[p.node+1]
	before, size := c.first[first], p.shareSize(p.nodes())
	c.staging = grow(c.staging, (c.first[end]-before)*size)
	for r := first; r < end; r++ {
		room := c.staging[(c.first[r]-before)*size : (c.first[r+1]-before)*size]
		if r-first == p.local {
			p.readShare(room, own, width)
			continue
		}
		from := len(c.x.bufs)
		for k := 0; k < len(own); k += width {
			c.x.bufs = p.appendShare(c.x.bufs, own[k:k+width], r-first)
		}
		c.x.sendSince(from, r, tag)
		if len(room) > 0 {
			c.x.recv(r, tag, view.Bytes(room))
		}
	}
	if err := c.step(ctx); err != nil {
		return nil, err
	}
	return tree.Merge(c.list(c.covers[before:c.first[end]], c.staging, size)), nil
}

// readShare copies this rank's share of each of its subtrees to dst, one after the other.
func (p place) readShare(dst []float32, own [][]float32, width int) {
	for k := 0; k < len(own); k += width {
		for node := range p.nodes() {
			s := p.share(node, p.local)
			fused(own[k:k+width]).read(dst, s.lo, s.hi)
			dst = dst[s.size():]
		}
	}
}

// reduceBetween sums this rank's part of the subtrees of all nodes, given those of this node, and
// returns it. It stands in the working memory.
func (c *Comm) reduceBetween(ctx context.Context, tag transport.Tag, p place, leaves []int, held []tree.Node) ([]float32, error) {
	c.perNode = c.perNode[:0]
	for node := range p.nodes() {
		c.perNode = append(c.perNode, mat.Sum(leaves[p.first[node]:p.first[node+1]]))
	}
	c.layOut(c.perNode)
	own := p.own()
	size := own.size()
	c.crossed = grow(c.crossed, len(c.covers)*size)
	p.others(func(node, rank int, theirs, mine span) {
		if theirs.size() > 0 {
			from, at := len(c.x.bufs), p.shareSize(node)-p.share(node, p.local).lo
			for _, n := range held {
				c.x.bufs = append(c.x.bufs, view.Bytes(n.Sum[at+theirs.lo:at+theirs.hi]))
			}
			c.x.sendSince(from, rank, tag)
		}
		if mine.size() > 0 {
			from := len(c.x.bufs)
			for k := c.first[node]; k < c.first[node+1]; k++ {
				sum := c.crossed[k*size : (k+1)*size]
				c.x.bufs = append(c.x.bufs, view.Bytes(sum[mine.lo-own.lo:mine.hi-own.lo]))
			}
			c.x.recvSince(from, rank, tag)
		}
	})
	at := p.shareSize(p.node)
	for k, n := range held {
		copy(c.crossed[(c.first[p.node]+k)*size:], n.Sum[at:at+size])
	}
	if err := c.step(ctx); err != nil {
		return nil, err
	}
	return tree.Fold(c.list(c.covers, c.crossed, size)), nil
}

// gatherBetween fills this rank's share of dst, given its part.
func (c *Comm) gatherBetween(ctx context.Context, tag transport.Tag, p place, sum []float32, dst fused) error {
	own := p.own()
	dst.write(sum, own.lo, own.hi)
	p.others(func(_, rank int, theirs, mine span) {
		if mine.size() > 0 {
			c.x.send(rank, tag, view.Bytes(sum[mine.lo-own.lo:mine.hi-own.lo]))
		}
		from := len(c.x.bufs)
		c.x.bufs = dst.appendViews(c.x.bufs, theirs.lo, theirs.hi)
		c.x.recvSince(from, rank, tag)
	})
	return c.step(ctx)
}

// gatherWithin gives each rank of this node the shares of all.
func (c *Comm) gatherWithin(ctx context.Context, tag transport.Tag, p place, dst fused) error {
	for i := range p.ranks(p.node) {
		if i == p.local {
			continue
		}
		rank, from := p.first[p.node]+i, len(c.x.bufs)
		c.x.bufs = p.appendShare(c.x.bufs, dst, p.local)
		c.x.sendSince(from, rank, tag)
		from = len(c.x.bufs)
		c.x.bufs = p.appendShare(c.x.bufs, dst, i)
		c.x.recvSince(from, rank, tag)
	}
	return c.step(ctx)
}
