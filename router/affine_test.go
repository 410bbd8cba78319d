package router_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/router/routertest"
)

// TestPublishedRouters runs the suite on what published models have and few others: a bias of the
// logits, one of softmax scores, a large epsilon.
func TestPublishedRouters(t *testing.T) {
	bias := []float32{0.25, -0.25, 0.125, 0, 0.5, -0.5, 0.25, 0}
	for name, config := range map[string]router.TopK{
		"logit bias":      {K: 2, LogitBias: true, Losses: losses},
		"softmax bias":    {K: 2, Score: router.SoftmaxBefore, BiasRate: 0.125, Losses: losses},
		"epsilon":         {K: 2, Score: router.Sigmoid, Epsilon: 0.25, Losses: losses},
		"epsilon, drops":  {K: 2, Score: router.Sigmoid, Renormalize: router.RenormalizeAfterDrop, CapacityFactor: 1, Epsilon: 0.25},
		"normalised bias": {K: 2, Score: router.SoftmaxBefore, Renormalize: router.RenormalizeBeforeDrop, BiasRate: 0.125},
	} {
		t.Run(name, func(t *testing.T) { routertest.Run(t, func() router.Router { return config }) })
	}
	g, err := router.TopK{K: 1, Score: router.SoftmaxBefore, Bias: bias}.New(router.Shape{Dim: 2, Experts: len(bias)})
	require.NoError(t, err)
	d, err := g.Route(blas32.General{Rows: 1, Cols: 2, Stride: 2, Data: make([]float32, 2)}, router.Batch{Ends: []int{1}})
	require.NoError(t, err)
	require.Equal(t, []int{0, 0, 0, 0, 1, 0, 0, 0}, d.Counts, "equal scores, of which the bias chooses the fifth")
	require.Equal(t, []float32{0.125}, d.Weight, "the bias is not in the weight")
}

// TestEpsilon: two sigmoids of ½ are divided by 1 + ¼.
func TestEpsilon(t *testing.T) {
	g, err := router.TopK{K: 2, Score: router.Sigmoid, Epsilon: 0.25}.New(router.Shape{Dim: 1, Experts: 2})
	require.NoError(t, err)
	d, err := g.Route(blas32.General{Rows: 1, Cols: 1, Stride: 1, Data: []float32{0}}, router.Batch{Ends: []int{1}})
	require.NoError(t, err)
	require.Equal(t, []float32{0.4, 0.4}, d.Weight)
}

// TestLogitBias: the bias decides where the tokens say nothing.
func TestLogitBias(t *testing.T) {
	g, err := router.TopK{K: 1, LogitBias: true}.New(router.Shape{Dim: 2, Experts: 3})
	require.NoError(t, err)
	set := g.Params()
	copy(set.Of(set.Value, 1), []float32{0, 1, 2})
	d, err := g.Route(blas32.General{Rows: 1, Cols: 2, Stride: 2, Data: make([]float32, 2)}, router.Batch{Ends: []int{1}})
	require.NoError(t, err)
	require.Equal(t, []int{0, 0, 1}, d.Counts)
	_, err = router.NoisyTopK{TopK: router.TopK{K: 1, LogitBias: true}}.New(router.Shape{Dim: 2, Experts: 3})
	require.ErrorContains(t, err, "NoisyTopK has no LogitBias")
}

// A gate as in gpt-oss has a bias of its logits.
func ExampleTopK_logitBias() {
	g, err := router.TopK{K: 4, LogitBias: true}.New(router.Shape{Dim: 8, Experts: 32})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range g.Params().Tensors() {
		fmt.Println(t.Name, t.Shape)
	}
	// Output:
	// gate [8 32]
	// gate_bias [32]
}
