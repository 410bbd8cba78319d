package gradients

import (
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// sum is the gradient of one set of parameters over the passes so far, and memory for the gradient
// of the next pass.
type sum struct{ total, next []float32 }

// add adds next to the total, or makes it the total.
func (s *sum) add(first bool) {
	if first {
		s.total, s.next = s.next, s.total
		return
	}
	f32.Add(s.total, s.next)
}

// reduce puts the gradients of sets, summed over the ranks of comm that hold leaves each, into the
// sums' next, and resets the sets.
func reduce(
	ctx context.Context, comm *collective.Comm, leaves []int, sets []*param.Set, to []*sum,
) error {
	if comm.Size() == 1 && sets[0].Grad.Holds(0, leaves[0]) {
		for i, set := range sets { // an expert's gradient is large: it is not copied
			to[i].next = set.Grad.Take(to[i].next)
		}
		return nil
	}
	dst, sums := make([][]float32, len(sets)), make([]*tree.Sum, len(sets))
	for i, set := range sets {
		to[i].next = slices.Grow(to[i].next[:0], len(set.Value))[:len(set.Value)]
		dst[i], sums[i] = to[i].next, set.Grad
	}
	if err := comm.AllReduceTree(ctx, leaves, dst, sums...); err != nil {
		return err
	}
	reset(sets...)
	return nil
}
