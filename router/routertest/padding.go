package routertest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// testPadding marks tokens as padding, and expects them to get no expert and no gradient, and what
// stands in their rows to change nothing.
func testPadding(t *testing.T, s suite) {
	x, b := s.tokens(23), router.Batch{Ends: []int{8, 8, 9, 12, 23}, Train: true, Padding: make([]bool, 23)}
	for i := range b.Padding {
		b.Padding[i] = s.rand.IntN(3) == 0 || i == 8 || i == 22 // token group 2 is nothing but padding
	}
	want := s.padded(t, x, b)
	for i, padding := range b.Padding {
		if padding {
			copy(x.Data[i*dim:(i+1)*dim], s.tokens(1).Data)
		}
	}
	require.Equal(t, want, s.padded(t, x, b), "padding has an effect")

	for i := range b.Padding {
		b.Padding[i] = true
	}
	nothing := s.padded(t, x, b)
	require.Empty(t, nothing.decision.Token)
	require.Zero(t, nothing.decision.Dropped)
	require.Equal(t, make([]int, s.experts), nothing.decision.Counts)
	require.Equal(t, make([]float64, len(b.Ends)), nothing.decision.GroupLoss)
}

// outcome is all that a pass computes.
type outcome struct {
	decision router.Decision
	dx, dp   []float32
}

// padded routes x and takes a gradient back that depends on token and expert alone.
func (s suite) padded(t *testing.T, x blas32.General, b router.Batch) outcome {
	g := s.gate(t)
	b.Micro = s.batch(b.Ends).Micro
	d, err := g.Route(x, b)
	require.NoError(t, err)
	require.NoError(t, d.Validate())
	require.Equal(t, x.Rows, d.Tokens)
	o := outcome{decision: copyOf(d)}
	grad := router.Gradient{DX: matrix(x.Rows, dim)}
	for e := range d.Experts {
		begin, end := d.Of(router.ExpertID(e))
		for _, token := range d.Token[begin:end] {
			require.False(t, b.Padding[token], "token %d is padding, and is with expert %d", token, e)
			grad.Weights = append(grad.Weights, float32(int(token)%5-e))
		}
	}
	for g := range b.Ends {
		grad.LossScale = append(grad.LossScale, float32(g+1))
	}
	o.dx, o.dp = s.backward(t, g, d, x, grad)
	for i, padding := range b.Padding {
		if padding {
			require.Equal(t, make([]float32, dim), slices.Clone(o.dx[i*dim:(i+1)*dim]), "gradient of padding")
		}
	}
	return o
}
