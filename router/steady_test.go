package router

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
)

// TestAssignedRoutersAllocateNothing takes passes through gates that have seen batches of this
// size.
func TestAssignedRoutersAllocateNothing(t *testing.T) {
	const tokens, dim, experts = 48, 6, 8
	to, err := NewRecorder(io.Discard)
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 2))
	x, dx := dense(tokens, dim, make([]float32, tokens*dim)), dense(tokens, dim, make([]float32, tokens*dim))
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	b := Batch{Ends: []int{20, tokens}, Train: true, IDs: make([]int32, tokens), Features: x}
	weights, scale := make([]float32, tokens*experts), make([]float32, 2)
	for _, config := range []Router{
		Sinkhorn{K: 2}, BASE{}, Cosine{TopK: TopK{K: 2}, Learned: true}, SideFeatures{TopK: TopK{K: 2}, Columns: dim},
		SMoEDropout{Schedule: Schedule{CurveHalfCosine, 2, 8, 10}}, Uniform{K: 2}, Stochastic{K: 2}, Zipf{K: 2, Exponent: 1}, Hot{K: 1, Share: 0.5}, Hash{K: 2},
		Several{[]Router{BASE{}, TopK{K: 1}}}, Record{Router: TopK{K: 2}, To: to},
	} {
		g, err := config.New(Shape{Dim: dim, Experts: experts})
		require.NoError(t, err)
		pass := func() {
			d, err := g.Route(x, b)
			require.NoError(t, err)
			require.NoError(t, g.Backward(d, x, Gradient{Weights: weights[:len(d.Weight)], LossScale: scale, DX: dx}))
			if p := g.Params(); p != nil {
				p.Grad.Reset()
			}
		}
		pass()
		require.Zero(t, alloctest.Least(60, pass), fmt.Sprintf("%T", config))
	}
}
