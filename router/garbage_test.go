package router_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// TestGatesReadNoPadding: a gate that is called without a layer decides and learns the same
// whatever padding holds.
func TestGatesReadNoPadding(t *testing.T) {
	top := router.TopK{K: 2, CapacityFactor: 1, Losses: everyLoss()}
	for name, config := range map[string]router.Router{
		"topk": top, "cosine": router.Cosine{TopK: top, Learned: true}, "soft": router.SoftMoE{Slots: 2}, "choice": router.ExpertChoice{},
		"capped": router.ExpertChoice{Cap: 3}, "all": router.ExpertChoice{Over: router.WholeBatch}, "base": router.BASE{}, "sinkhorn": router.Sinkhorn{K: 1},
		"learned": router.NoisyTopK{TopK: top, Noise: router.LearnedGaussian}, "jitter": router.NoisyTopK{TopK: top, Noise: router.JitterTokens, Amount: 0.2},
		"modality": router.Modality{Groups: []router.ModalityGroup{{Name: "a", Experts: 2}, {Name: "b", Experts: 2}}, Aux: true},
		"side":     router.SideFeatures{TopK: top, Columns: 3}, "rows": router.Hash{K: 1, Rows: true}, "quantile": router.QuantileBalanced{TopK: router.TopK{K: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			want := routedText(t, config, 0)
			for _, garbage := range []float32{float32(math.NaN()), float32(math.Inf(1)), 1e30} {
				require.Equal(t, want, routedText(t, config, garbage), "padding of %v", garbage)
			}
		})
	}
}

// routedText is the decision and the gradients of a batch whose padding rows hold garbage.
func routedText(t *testing.T, config router.Router, garbage float32) string {
	t.Helper()
	const tokens, dim = 9, 5
	r := rand.New(rand.NewPCG(1, 1))
	matrix := func(cols int) blas32.General {
		m := blas32.General{Rows: tokens, Cols: cols, Stride: cols, Data: make([]float32, tokens*cols)}
		for i := range m.Data {
			m.Data[i] = float32(r.NormFloat64())
		}
		return m
	}
	x, features := matrix(dim), matrix(3)
	b := router.Batch{Ends: []int{4, 5, tokens}, Train: true, Features: features, IDs: make([]int32, tokens), Modality: make([]int32, tokens),
		Padding: []bool{false, true, false, false, true, true, false, false, false}}
	for i, padding := range b.Padding {
		if padding {
			b.Modality[i] = -5
			for _, m := range []blas32.General{x, features} {
				for j := range m.Cols {
					m.Data[i*m.Cols+j] = garbage
				}
			}
		}
	}
	g, err := config.New(router.Shape{Dim: dim, Experts: 4, Seed: 3})
	require.NoError(t, err)
	d, err := g.Route(x, b)
	require.NoError(t, err)
	text := fmt.Sprintln(d.Token, d.Weight, d.Ends, d.Counts, d.GroupLoss, d.Losses)
	rows := blas32.General{Rows: d.NumRows(), Cols: dim, Stride: dim, Data: make([]float32, d.NumRows()*dim)}
	for i := range rows.Data {
		rows.Data[i] = float32(i%5) - 2
	}
	dx := blas32.General{Rows: tokens, Cols: dim, Stride: dim, Data: make([]float32, tokens*dim)}
	weights := make([]float32, d.NumWeights())
	for i := range weights {
		weights[i] = float32(i%3) - 1
	}
	require.NoError(t, g.Backward(d, x, router.Gradient{Weights: weights, LossScale: []float32{1, 1, 1}, Rows: rows, DX: dx}))
	text += fmt.Sprintln(dx.Data)
	if p := g.Params(); p != nil {
		text += fmt.Sprintln(p.Grad.Total())
	}
	return text
}
