package experttest

import (
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
)

// frozen freezes experts that are new, and ones that have memory of earlier passes, and thaws them:
// answers and gradients of rows keep their bits, and only those of the parameters come and go.
func frozen(c check) {
	if c.usual().Params() == nil {
		c.Skip("no parameters")
	}
	trained := c.usual()
	var batches [3]batch
	var want [3]result
	for i := range batches {
		batches[i] = c.batch(1 + i)
		want[i] = batches[i].pass(trained)
	}
	for _, g := range []expert.Group{c.usual(), trained} {
		g.Params().Frozen = true
		c.frozenPasses(g, batches, want, g.Backward)
		if split, ok := g.(expert.SplitBackward); ok {
			c.frozenPasses(g, batches, want, func(saved expert.Saved, dy blas32.General) blas32.General {
				dx := split.BackwardInput(saved, dy)
				split.BackwardWeights(saved)
				return dx
			})
		}
		g.Params().Frozen = false
		for i, b := range batches {
			got := b.pass(g)
			c.same(want[i].dx, got.dx, "gradient of the input after thawing")
			c.same(want[i].grad, got.grad, "gradient of the parameters after thawing")
		}
	}
}

// frozenPasses has all batches in flight before the first goes back.
func (c check) frozenPasses(g expert.Group, batches [3]batch, want [3]result,
	backward func(saved expert.Saved, dy blas32.General) blas32.General,
) {
	var ys [3]blas32.General
	var saved [3]expert.Saved
	for i, b := range batches {
		ys[i], saved[i] = g.Forward(b.x, b.rows)
	}
	for _, i := range []int{2, 0, 1} {
		c.same(want[i].y, dense(ys[i]), "answers of frozen experts")
		c.same(want[i].dx, dense(backward(saved[i], batches[i].dy)), "gradient of the input of frozen experts")
		require.Empty(c, g.Params().Grad.Nodes(), "leaves of frozen parameters")
	}
}
