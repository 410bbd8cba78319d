package router_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/router/routertest"
)

func TestSparseMixer(t *testing.T) {
	for _, config := range []router.SparseMixer{{Threshold: 0.01}, {Threshold: 0.5, Losses: losses}} {
		t.Run(fmt.Sprint(config.Threshold), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config })
		})
	}
	_, err := router.SparseMixer{Threshold: 1}.New(router.Shape{Dim: 1, Experts: 2})
	require.ErrorContains(t, err, "threshold is 1")
}

// TestSparseMixerWeights: of logits 4, 3.5, 1 and 1 the second is near the first one's at ¼ of 4,
// so they share its weight; no other is near the second.
func TestSparseMixerWeights(t *testing.T) {
	g, err := router.SparseMixer{Threshold: 0.125}.New(router.Shape{Dim: 1, Experts: 4})
	require.NoError(t, err)
	d, err := g.(router.LogitRouter).RouteLogits(
		blas32.General{Rows: 1, Cols: 4, Stride: 4, Data: []float32{1, 4, 1, 3.5}}, router.Batch{Ends: []int{1}})
	require.NoError(t, err)
	require.Equal(t, []int{0, 1, 0, 1}, d.Counts)
	require.InDelta(t, 0.62245933, d.Weight[0], 1e-6, "1 / (1 + e^−½)")
	require.Equal(t, float32(1), d.Weight[1])
}

// Most weights of Phi-3.5-MoE's router are 1.
func ExampleSparseMixer() {
	g, err := router.SparseMixer{Threshold: 0.01}.New(router.Shape{Dim: 2, Experts: 4, Seed: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := g.Route(blas32.General{Rows: 1, Cols: 2, Stride: 2, Data: []float32{1, 2}}, router.Batch{Ends: []int{1}})
	fmt.Println(d.Weight, err)
	// Output: [1 1] <nil>
}
