package collective

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
)

// ReduceScatter sums x, of the same length on every rank, over the ranks, and returns this rank's
// slice of the sum: x[lo:hi] of [Slice], written in place. The rest of x does not change. The order
// of summation is the binary tree over ranks, so the bits depend on the vectors of the ranks and
// their number alone. A peer whose length differs may go unnoticed if its slices have the same
// lengths by chance; else it is an error.
//
// Direct: each rank sends each other its slice of x, and folds what it gets. One step, (n-1)/n
// times x sent by each rank.
func (c *Comm) ReduceScatter(ctx context.Context, x []float32) ([]float32, error) {
	lo, hi := Slice(len(x), int(c.Rank()), c.Size())
	err := c.call("reduce-scatter", func(tag transport.Tag) error {
		defer c.forget()
		c.one[0] = x
		sum, err := c.reduce(ctx, tag, c.ones, c.one[:], 1, len(x))
		copy(x[lo:hi], sum)
		return err
	})
	if err != nil {
		return nil, err
	}
	return x[lo:hi:hi], nil
}

// forget drops the references to the caller's vectors.
func (c *Comm) forget() {
	clear(c.one[:])
	clear(c.own)
	c.own = c.own[:0]
}
