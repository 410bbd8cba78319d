package router

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/neartest"
)

// TestCosineGoldens compares weights and gradients with those that torch computed.
func TestCosineGoldens(t *testing.T) {
	type tensor struct {
		Shape []int
		Data  []float32
	}
	type golden struct {
		Kind                          string
		Tokens, Dim, Proj, Experts, K int
		Temperature                   float32
		Inputs, Outputs               map[string]tensor
		TopK                          [][]int `json:"topk"`
		Weights                       []float32
	}
	ran := 0
	for _, c := range goldens[golden](t, "layer.json") {
		if c.Kind != "xmoe_cosine" {
			continue
		}
		ran++
		g, err := Cosine{TopK: TopK{K: c.K, Score: SoftmaxBefore}, Columns: c.Proj, Temperature: c.Temperature}.
			New(Shape{Dim: c.Dim, Experts: c.Experts})
		require.NoError(t, err)
		p := g.Params()
		copy(p.Of(p.Value, 0), c.Inputs["w_proj"].Data)
		copy(p.Of(p.Value, 1), c.Inputs["expert_embeddings"].Data)
		x := dense(c.Tokens, c.Dim, c.Inputs["x"].Data)
		d, err := g.Route(x, Batch{Ends: []int{c.Tokens}, Train: true})
		require.NoError(t, err)
		grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{1}, DX: dense(c.Tokens, c.Dim, make([]float32, c.Tokens*c.Dim))}
		require.Len(t, d.Weight, c.Tokens*c.K)
		for token, experts := range c.TopK {
			for j, e := range experts {
				i := find(d, token, e)
				require.GreaterOrEqual(t, i, 0, "token %d, expert %d", token, e)
				require.InDelta(t, c.Weights[token*c.K+j], d.Weight[i], 1e-6)
				grad.Weights[i] = c.Inputs["upstream"].Data[token*c.K+j]
			}
		}
		require.NoError(t, g.Backward(d, x, grad))
		total := p.Grad.Total()
		neartest.Equal(t, c.Outputs["d_x"].Data, grad.DX.Data, 1e-5)
		neartest.Equal(t, c.Outputs["d_w_proj"].Data, p.Of(total, 0), 1e-5)
		neartest.Equal(t, c.Outputs["d_expert_embeddings"].Data, p.Of(total, 1), 1e-5)
	}
	require.Equal(t, 1, ran)
}

// TestCosineIgnoresLength scales tokens and embeddings.
func TestCosineIgnoresLength(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	g, err := Cosine{TopK: TopK{K: 2}, Columns: 3}.New(Shape{Dim: 5, Experts: 4, Seed: 1})
	require.NoError(t, err)
	x := dense(6, 5, make([]float32, 30))
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	want, err := g.Route(x, Batch{Ends: []int{6}})
	require.NoError(t, err)
	for i := range x.Data {
		x.Data[i] *= 1 << 20
	}
	for i, embeddings := 0, g.Params().Of(g.Params().Value, 1); i < len(embeddings); i++ {
		embeddings[i] *= 0x1p-30
	}
	got, err := g.Route(x, Batch{Ends: []int{6}})
	require.NoError(t, err)
	require.Equal(t, want.Token, got.Token)
	require.Equal(t, want.Weight, got.Weight)
}

// TestCosineOfTinyVectors: however short tokens and embeddings are, no gradient is NaN or infinite.
func TestCosineOfTinyVectors(t *testing.T) {
	for exponent := range 46 {
		for _, set := range []int{-1, cosineProjection, cosineEmbeddings} {
			gate, err := Cosine{TopK: TopK{K: 2}, Learned: true, Columns: 3}.New(Shape{Dim: 4, Experts: 3})
			require.NoError(t, err)
			x := blas32.General{Rows: 2, Cols: 4, Stride: 4, Data: []float32{1, -2, 3, 0.5, -1, 1, 2, -3}}
			tiny := x.Data
			if set >= 0 {
				tiny = gate.Params().Of(gate.Params().Value, set)
			}
			for i := range tiny {
				tiny[i] *= float32(math.Pow(10, -float64(exponent)))
			}
			d, err := gate.Route(x, Batch{Ends: []int{2}, Train: true})
			require.NoError(t, err)
			dx := blas32.General{Rows: 2, Cols: 4, Stride: 4, Data: make([]float32, 8)}
			require.NoError(t, gate.Backward(d, x, Gradient{Weights: []float32{1, -2, 3, -4}, LossScale: []float32{1}, DX: dx}))
			for _, v := range append(dx.Data, gate.Params().Grad.Total()...) {
				require.Zero(t, v-v, "tensor %d times 1e-%d", set, exponent)
			}
		}
	}
}

// TestCosineTemperature starts where it is told and stops at 1/100.
func TestCosineTemperature(t *testing.T) {
	g, err := Cosine{TopK: TopK{K: 1}, Columns: 2, Temperature: 0.3, Learned: true}.New(Shape{Dim: 3, Experts: 4})
	require.NoError(t, err)
	p := g.Params()
	require.InDelta(t, -math.Log(0.3), float64(p.Of(p.Value, 2)[0]), 1e-6)
	c := g.(*tokenChoice).projection.(*cosine)
	scale, moves := c.scale()
	require.InDelta(t, 1/0.3, scale, 1e-5)
	require.True(t, moves)
	p.Of(p.Value, 2)[0] = 50
	scale, moves = c.scale()
	require.Equal(t, float32(100), scale)
	require.False(t, moves)

	_, err = Cosine{TopK: TopK{K: 9}, Columns: -1, Temperature: -1}.New(Shape{Dim: 3, Experts: 4})
	for _, says := range []string{"K is 9", "-1 columns", "temperature is -1"} {
		require.ErrorContains(t, err, says)
	}
}
