package collective

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/transport"
)

// Reduction says how the numbers of the ranks become one.
type Reduction int

// The reductions.
const (
	Sum Reduction = iota
	Max
	Min
)

// String returns the name of r.
func (r Reduction) String() string {
	switch r {
	case Sum:
		return "sum"
	case Max:
		return "max"
	case Min:
		return "min"
	}
	return fmt.Sprintf("Reduction(%d)", int(r))
}

// check returns an error unless by is a reduction.
func (c *Comm) check(by Reduction) error {
	if by < Sum || by > Min {
		return c.misuse("all-reduce", "no reduction %v", by)
	}
	return nil
}

// AllReduceInt64 reduces x, of the same length on every rank, over the ranks in place. It is for
// short vectors, such as counts. A sum that overflows wraps around.
//
// Direct: each rank sends the whole of x to all others. One step, (n-1)·8·len(x) bytes a rank.
func (c *Comm) AllReduceInt64(ctx context.Context, x []int64, by Reduction) error {
	if err := c.check(by); err != nil {
		return err
	}
	return c.call("all-reduce", func(tag transport.Tag) error { return reduceShort(ctx, c, tag, &c.ints, x, by) })
}

// AllReduceFloat64 reduces x, of the same length on every rank, over the ranks in place. Sums are
// taken in the order of ranks, so all ranks have the same bits. It is for short vectors, such as
// losses.
//
// Direct: each rank sends the whole of x to all others. One step, (n-1)·8·len(x) bytes a rank.
func (c *Comm) AllReduceFloat64(ctx context.Context, x []float64, by Reduction) error {
	if err := c.check(by); err != nil {
		return err
	}
	return c.call("all-reduce", func(tag transport.Tag) error { return reduceShort(ctx, c, tag, &c.floats, x, by) })
}

// reduceShort gathers the x of all ranks in staging, and reduces them in the order of ranks.
func reduceShort[T int64 | float64](ctx context.Context, c *Comm, tag transport.Tag, staging *[]T, x []T, by Reduction) error {
	me, n, size := int(c.Rank()), c.Size(), len(x)
	all := grow(*staging, n*size)
	*staging = all
	copy(all[me*size:], x)
	for r := range n {
		if r != me {
			c.x.send(r, tag, view.Bytes(x))
			c.x.recv(r, tag, view.Bytes(all[r*size:(r+1)*size]))
		}
	}
	if err := c.step(ctx); err != nil {
		return err
	}
	copy(x, all[:size])
	for r := 1; r < n; r++ {
		combine(x, all[r*size:(r+1)*size], by)
	}
	return nil
}

func combine[T int64 | float64](x, y []T, by Reduction) {
	for i, v := range y {
		switch by {
		case Sum:
			x[i] += v
		case Max:
			x[i] = max(x[i], v)
		case Min:
			x[i] = min(x[i], v)
		}
	}
}
