package collective

import (
	"context"

	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

// ReduceScatterV sums a vector for each rank, of lengths that all ranks know: parts[r] is this
// rank's addend to that of rank r. It returns the sum of those for this rank, which is written to
// parts[Rank()]; the others do not change. The order of summation is the binary tree over ranks, as
// that of [Comm.ReduceScatter]. A peer whose length differs is an error.
//
// Direct: each rank sends each other its addend, and folds what it gets. One step, the length of
// the vectors of all others sent by each rank.
func (c *Comm) ReduceScatterV(ctx context.Context, parts [][]float32) ([]float32, error) {
	const op = "reduce-scatter"
	n, me := c.Size(), int(c.Rank())
	if len(parts) != n {
		return nil, c.misuse(op, "%d vectors for %d ranks", len(parts), n)
	}
	sum := parts[me]
	err := c.call(op, func(tag transport.Tag) error {
		size := len(sum)
		c.layOut(c.ones)
		c.staging = grow(c.staging, n*size)
		copy(c.staging[me*size:], sum)
		for r, part := range parts {
			if r != me {
				c.x.send(r, tag, view.Bytes(part))
				c.x.recv(r, tag, view.Bytes(c.staging[r*size:(r+1)*size]))
			}
		}
		if err := c.step(ctx); err != nil {
			return err
		}
		copy(sum, tree.Fold(c.list(c.covers, c.staging, size)))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sum, nil
}
