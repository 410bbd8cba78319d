package experttest

import (
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
)

// held looks at what passes have returned after others have computed, for experts that can hold it.
// One of the passes never goes back, and its memory is used again.
func held(c check) {
	g, ok := c.usual().(expert.Holder)
	if !ok {
		c.Skip("these hold nothing")
	}
	for range 3 {
		var batches [4]batch
		var want [4]result
		for i := range batches {
			batches[i] = c.batch(1 + i)
			want[i] = batches[i].pass(g)
		}
		var ys, dxs [4]blas32.General
		var saved [4]expert.Saved
		for i, b := range batches {
			ys[i], saved[i] = g.Forward(b.x, b.rows)
			g.Hold(saved[i])
		}
		for _, i := range []int{2, 0, 3} {
			dxs[i] = g.Backward(saved[i], batches[i].dy)
			c.same(want[i].grad, g.Params().Grad.Total(), "gradient of the parameters")
			g.Params().Grad.Reset()
		}
		batches[1].pass(g) // of another pass, that is not held
		for i := range batches {
			c.same(want[i].y, dense(ys[i]), "answers")
			if i != 1 {
				c.same(want[i].dx, dense(dxs[i]), "gradient of the input")
			}
			g.Release(saved[i])
		}
	}
	require.Empty(c, g.Params().Grad.Nodes())
}
