package router

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// TestSideFeatures expects what TopK does with the features as tokens, and no gradient of the
// tokens.
func TestSideFeatures(t *testing.T) {
	config := TopK{K: 2, Score: SoftmaxBefore, CapacityFactor: 1, Losses: []Loss{Balance(1)}}
	beside, err := SideFeatures{TopK: config, Columns: 3}.New(Shape{Dim: 6, Experts: 4, Seed: 5})
	require.NoError(t, err)
	want, err := config.New(Shape{Dim: 3, Experts: 4, Seed: 5})
	require.NoError(t, err)
	require.Equal(t, want.Params().Value, beside.Params().Value)

	x, features := identity(6), blas32.General{Rows: 6, Cols: 3, Stride: 4, Data: make([]float32, 24)}
	for i := range features.Data {
		features.Data[i] = float32(i*i%7) - 3
	}
	b := Batch{Ends: []int{2, 6}, Train: true, Features: features, Padding: []bool{3: true, 5: false}}
	d, err := beside.Route(x, b)
	require.NoError(t, err)
	e, err := want.Route(features, b)
	require.NoError(t, err)
	require.Equal(t, e.Assignment, d.Assignment)
	require.Equal(t, e.Losses, d.Losses)

	grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{1, 2}, DX: identity(6)}
	for i := range grad.Weights {
		grad.Weights[i] = float32(i)
	}
	require.NoError(t, beside.Backward(d, x, grad))
	require.Equal(t, identity(6), grad.DX)
	grad.DX = dense(6, 3, make([]float32, 18))
	require.NoError(t, want.Backward(e, features, grad))
	require.Equal(t, want.Params().Grad.Total(), beside.Params().Grad.Total())

	b.Features.Rows = 5
	_, err = beside.Route(x, b)
	require.EqualError(t, err, "router: SideFeatures: 5 rows of features for 6 tokens")
	b.Features = identity(6)
	_, err = beside.Route(x, b)
	require.EqualError(t, err, "router: SideFeatures: Features has 6 rows of 6 columns, want 3 columns")
	_, err = SideFeatures{TopK: config}.New(Shape{Dim: 6, Experts: 4})
	require.ErrorContains(t, err, "0 features")
}
