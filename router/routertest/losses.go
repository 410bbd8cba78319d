package routertest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/router"
)

// testLossesApart compares the two gradients of a gate that keeps that of its losses apart with
// those that come where the other's upstream gradient is 0, and their sum with the whole.
func testLossesApart(t *testing.T, s suite) {
	splitter, ok := s.gate(t).(router.LossSplitter)
	if !ok || splitter.LossParams() == nil {
		t.Skip("no losses, or none that are kept apart")
	}
	x, ends := s.tokens(14), []int{6, 6, 14}
	g := splitter
	losses := g.LossParams()
	p := g.Params()
	require.Equal(t, p.Tensors(), losses.Tensors())
	d, _ := s.route(t, g, x, ends)
	upstream := s.gradient(d)
	upstream.FirstLeaf = 4

	pass := func(change func(*router.Gradient)) (dx, own []float32) {
		d, _ := s.route(t, g, x, ends)
		grad := upstream
		grad.Weights, grad.LossScale = slices.Clone(upstream.Weights), slices.Clone(upstream.LossScale)
		grad.DX = matrix(x.Rows, dim)
		change(&grad)
		return s.backward(t, g, d, x, grad)
	}
	dx, whole := pass(func(*router.Gradient) {})
	_, onlyWeights := pass(func(grad *router.Gradient) { clear(grad.LossScale) })
	_, onlyLosses := pass(func(grad *router.Gradient) { clear(grad.Weights) })
	for range 2 { // the second time in used memory
		apart, weights := pass(func(grad *router.Gradient) { grad.Losses = losses })
		nodes := losses.Grad.Nodes()
		require.NotEmpty(t, nodes, "the leaves of the losses")
		require.Equal(t, 4, nodes[0].Index<<nodes[0].Level, "the first leaf of the losses")
		ofLosses := slices.Clone(losses.Grad.Total())
		losses.Grad.Reset()
		near(t, "gradient of the weights", onlyWeights, weights)
		near(t, "gradient of the losses", onlyLosses, ofLosses)
		near(t, "gradient of the tokens", dx, apart)
		for i := range weights {
			weights[i] += ofLosses[i]
		}
		near(t, "sum of both", whole, weights)
	}
}

// near compares vectors that are summed in another order.
func near(t *testing.T, what string, want, got []float32) {
	t.Helper()
	require.Len(t, got, len(want), what)
	scale := 1e-2
	for _, v := range want {
		scale = max(scale, float64(max(v, -v)))
	}
	for i, v := range want {
		require.InDelta(t, v, got[i], 1e-5*scale, "%s: element %d", what, i)
	}
}
