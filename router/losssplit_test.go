package router

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/param"
)

// TestAuxiliaryRoutersKeepTheirGradientApart: the gradient of their loss is in the tensors of the
// auxiliary routers, the rest in the gate's.
func TestAuxiliaryRoutersKeepTheirGradientApart(t *testing.T) {
	const tokens, dim = 9, 4
	config := Modality{Groups: []ModalityGroup{{Name: "a", Experts: 3}, {Name: "b", Experts: 2}}, Aux: true}
	r := rand.New(rand.NewPCG(1, 2))
	x := dense(tokens, dim, make([]float32, tokens*dim))
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	b := Batch{Ends: []int{4, 4, 9}, Train: true, Modality: []int32{0, 1, 0, 0, 1, 1, 0, 1, 0}}
	g, err := config.New(Shape{Dim: dim, Experts: 5, Seed: 1})
	require.NoError(t, err)
	losses := g.(LossSplitter).LossParams()
	pass := func(apart *param.Set) (dx, own []float32) {
		d, err := g.Route(x, b)
		require.NoError(t, err)
		grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{1, 2, 3}, Losses: apart, FirstLeaf: 8, DX: dense(tokens, dim, make([]float32, tokens*dim))}
		for i := range grad.Weights {
			grad.Weights[i] = float32(i%5) - 2
		}
		require.NoError(t, g.Backward(d, x, grad))
		own = slices.Clone(g.Params().Grad.Total())
		g.Params().Grad.Reset()
		return grad.DX.Data, own
	}
	dx, whole := pass(nil)
	dxApart, own := pass(losses)
	require.Equal(t, dx, dxApart)
	ofLosses := losses.Grad.Total()
	for i, tensor := range losses.Tensors() {
		aux := i >= 2 // after the gate of each modality
		require.Equal(t, aux, slices.ContainsFunc(losses.Of(ofLosses, i), func(v float32) bool { return v != 0 }), tensor.Name)
		require.Equal(t, !aux, slices.ContainsFunc(losses.Of(own, i), func(v float32) bool { return v != 0 }), tensor.Name)
	}
	for i := range own {
		own[i] += ofLosses[i]
	}
	require.Equal(t, whole, own)
	plain, err := ExpertChoice{}.New(Shape{Dim: dim, Experts: 5})
	require.NoError(t, err)
	require.Nil(t, plain.(LossSplitter).LossParams())
}
