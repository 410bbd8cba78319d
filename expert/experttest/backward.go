package experttest

import (
	"math"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/neartest"
)

// leaves runs the leaves of a batch one by one: a leaf's gradient must not depend on the others.
func leaves(c check) {
	const n = 4
	g, b := c.usual(), c.batch(n)
	var apart [n]result
	for l := range apart {
		apart[l] = b.leaf(l).pass(g)
	}
	total := g.Params().Grad
	for l := range apart {
		copy(total.Leaf(l), apart[l].grad)
	}
	want := append([]float32(nil), total.Total()...)
	total.Reset()
	c.same(want, b.pass(g).grad, "gradient of the parameters")
}

func leavesAddUp(c check) {
	g, b := c.usual(), c.batch(5)
	split, whole := b.pass(g), b.merged().pass(g)
	c.same(whole.y, split.y, "answers")
	c.same(whole.dx, split.dx, "gradient of the input")
	c.near(whole.grad, split.grad, 1e-4, "gradient of the parameters")
}

// inFlight runs three forward passes of different sizes before any backward pass, and does so twice
// on used buffers.
func inFlight(c check) {
	g := c.usual()
	for range 2 {
		var batches [3]batch
		var want [3]result
		for i := range batches {
			batches[i] = c.batch(1 + i)
			want[i] = batches[i].pass(g)
		}
		var ys [3]blas32.General
		var saved [3]expert.Saved
		for i, b := range batches {
			ys[i], saved[i] = g.Forward(b.x, b.rows)
		}
		for _, i := range []int{1, 0, 2} {
			c.same(want[i].y, dense(ys[i]), "answers")
			c.same(want[i].dx, dense(g.Backward(saved[i], batches[i].dy)), "gradient of the input")
			c.same(want[i].grad, g.Params().Grad.Total(), "gradient of the parameters")
			g.Params().Grad.Reset()
		}
	}
}

// halves runs BackwardInput of three passes and then BackwardWeights of each, for experts that can
// split their backward pass.
func halves(c check) {
	g, ok := c.usual().(expert.SplitBackward)
	if !ok {
		c.Skip("these go back in one")
	}
	for range 2 {
		var batches [3]batch
		var want [3]result
		for i := range batches {
			batches[i] = c.batch(1 + i)
			want[i] = batches[i].pass(g)
		}
		var saved [3]expert.Saved
		for i, b := range batches {
			_, saved[i] = g.Forward(b.x, b.rows)
		}
		for _, i := range []int{2, 0, 1} {
			c.same(want[i].dx, dense(g.BackwardInput(saved[i], batches[i].dy)), "gradient of the input")
			require.Empty(c, g.Params().Grad.Nodes(), "gradients of the parameters before their half")
		}
		for _, i := range []int{1, 2, 0} {
			g.BackwardWeights(saved[i])
			c.same(want[i].grad, g.Params().Grad.Total(), "gradient of the parameters")
			g.Params().Grad.Reset()
		}
	}
}

// slopes compares gradients with central differences of the loss Σ y·dy along random directions.
// The losses are sums of float32 numbers, so this finds wrong formulas, not wrong last digits. They
// may have kinks as well: if one lies within a step, the slopes before and after it differ, and
// that direction is not compared. There must be few of them.
func slopes(c check) {
	g, b := c.usual(), c.batch(2)
	r := b.pass(g)
	value := g.Params().Value
	const directions = 20
	said := [2]int{}
	for range directions {
		said[0] += c.slope(g, b, b.x.Data, r.dx, "input")
		said[1] += c.slope(g, b, value, r.grad, "parameters")
	}
	require.GreaterOrEqual(c, said[0], directions*3/4, "directions of the input without a kink")
	require.GreaterOrEqual(c, said[1], directions*3/4, "directions of the parameters without a kink")
}

// slope perturbs at, of whose elements grad is the gradient, along a random direction of length 1,
// and tells how many directions could be compared.
func (c check) slope(g expert.Group, b batch, at, grad []float32, what string) int {
	if len(at) == 0 {
		return 1
	}
	const h = 1e-2
	direction := make([]float64, len(at))
	norm := 0.0
	for i := range direction {
		direction[i] = c.rng.NormFloat64()
		norm += direction[i] * direction[i]
	}
	old := append([]float32(nil), at...)
	move := func(step float64) float64 {
		for i := range at {
			at[i] = old[i] + float32(step*direction[i]/math.Sqrt(norm))
		}
		return b.loss(g)
	}
	here, up, down := move(0), move(h), move(-h)
	before, after := (here-down)/h, (up-here)/h
	copy(at, old)
	predicted, size := 0.0, 0.0
	for i, v := range grad {
		predicted += float64(v) * direction[i] / math.Sqrt(norm)
		size += float64(v) * float64(v)
	}
	measured, tolerance := (before+after)/2, 0.02*math.Sqrt(size)+1e-3
	if math.Abs(predicted-measured) > tolerance && math.Abs(after-before) > tolerance {
		return 0
	}
	neartest.Number(c, predicted, measured, tolerance, "slope of the loss along the %s", what)
	return 1
}

// loss returns Σ y·dy.
func (b batch) loss(g expert.Group) float64 {
	y, saved := g.Forward(b.x, b.rows)
	sum := 0.0
	for i, v := range dense(y) {
		sum += float64(v) * float64(b.dy.Data[i])
	}
	g.Params().Grad.Reset()
	g.Backward(saved, b.dy)
	g.Params().Grad.Reset()
	return sum
}
