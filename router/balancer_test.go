package router

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// TestSignUpdate expects the bias to move by the rate against the load of all ranks, whole passes
// and not forgotten ones.
func TestSignUpdate(t *testing.T) {
	g := gateWith(t, TopK{K: 1, Score: Sigmoid, BiasRate: 0.25}, [][]float64{{2, 0, 1}, {2, 0, 1}, {0, 0, 1}}).(Balancer)
	route := func() *Decision {
		d, err := g.Route(identity(3), Batch{Ends: []int{1, 3}, Train: true})
		require.NoError(t, err)
		return d
	}
	route()
	require.Equal(t, []int64{0, 0, 0}, g.Tally(), "no pass has been taken back")
	require.NoError(t, g.Backward(route(), identity(3), Gradient{Weights: make([]float32, 3), LossScale: make([]float32, 2), DX: identity(3)}))
	require.Equal(t, []int64{2, 0, 1}, g.Tally())
	require.Equal(t, []float32{0, 0, 0}, g.Bias())
	g.Rebalance([]int64{2, 0, 1})
	require.Equal(t, []float32{-0.25, 0.25, 0}, g.Bias())
	require.Equal(t, []int64{0, 0, 0}, g.Tally())

	fixed := gateWith(t, TopK{K: 1, Score: Sigmoid, Bias: []float32{1, 2}}, [][]float64{{0, 0}}).(Balancer)
	require.Nil(t, fixed.Tally())
	require.Equal(t, []float32{1, 2}, fixed.Bias())
	require.Nil(t, gateWith(t, TopK{K: 1}, [][]float64{{0, 0}}).(Balancer).Bias())
}

// TestCentredStepsDoNotDrift: three of four experts above the mean load for good. The step as
// published takes the mean of the biases with it, the centred one leaves it, and both move the same
// apart.
func TestCentredStepsDoNotDrift(t *testing.T) {
	const rate, steps = 0.001, 20000
	mean := func(bias []float32) (sum float64) {
		for _, b := range bias {
			sum += float64(b) / float64(len(bias))
		}
		return sum
	}
	biases := map[bool][]float32{}
	for _, centred := range []bool{false, true} {
		g := gateWith(t, TopK{K: 1, Score: Sigmoid, BiasRate: rate, BiasCentred: centred}, [][]float64{{0, 0, 0, 0}}).(Balancer)
		for range steps {
			g.Rebalance([]int64{11, 11, 11, 7})
		}
		biases[centred] = g.Bias()
	}
	require.InDelta(t, -steps*rate/2, mean(biases[false]), 0.05)
	require.InDelta(t, 0, mean(biases[true]), 0.05)
	for _, b := range biases {
		require.InDelta(t, 2*steps*rate, b[3]-b[0], 0.1)
	}
	// One step, to the bit: an expert of exactly the mean load moves too.
	g := gateWith(t, TopK{K: 1, Score: Sigmoid, BiasRate: 0.25, BiasCentred: true}, [][]float64{{0, 0, 0, 0}}).(Balancer)
	g.Rebalance([]int64{5, 4, 3, 4})
	require.Equal(t, []float32{-0.25, 0, 0.25, 0}, g.Bias())
	g.Rebalance([]int64{9, 0, 4, 3})
	require.Equal(t, []float32{-0.5625, 0.1875, 0.1875, 0.1875}, g.Bias())
	// As torchtitan 0.3.0 computes it.
	g = gateWith(t, TopK{K: 1, Score: Sigmoid, BiasRate: rate, BiasCentred: true}, [][]float64{{0, 0, 0, 0, 0, 0}}).(Balancer)
	g.Rebalance([]int64{0, 4, 6, 9, 7, 3})
	g.Rebalance([]int64{7, 8, 1, 1, 8, 9})
	for e, want := range []float64{0.00033333327, 0.00033333327, 0.00033333327, 0.00033333327, -0.0016666668, 0.00033333327} {
		require.InDelta(t, want, g.Bias()[e], 1e-9, "expert %d", e)
	}
	_, err := TopK{K: 1, Score: Sigmoid, BiasCentred: true}.New(Shape{Dim: 1, Experts: 2})
	require.ErrorContains(t, err, "without BiasRate")
}

// TestBalancersBalance trains nothing but the bias on tokens that prefer few experts.
func TestBalancersBalance(t *testing.T) {
	const seed = 5 // fixed, because the final balance depends on the initial gate
	for name, config := range map[string]Router{
		"sign":     TopK{K: 2, Score: Sigmoid, BiasRate: 0.01},
		"quantile": QuantileBalanced{TopK: TopK{K: 2, Score: Sigmoid}, Rate: 0.5},
		"softmax":  QuantileBalanced{TopK: TopK{K: 2, Score: SoftmaxBefore}, Rate: 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			gate, err := config.New(Shape{Dim: 4, Experts: 8, Seed: seed})
			require.NoError(t, err)
			g := gate.(Balancer)
			excess := func() float64 {
				x := blas32.General{Rows: 512, Cols: 4, Stride: 4, Data: make([]float32, 2048)}
				for i := range x.Data {
					x.Data[i] = float32(r.NormFloat64() + 2)
				}
				d, err := g.Route(x, Batch{Ends: []int{256, 512}, Train: true})
				require.NoError(t, err)
				most := 0
				for _, n := range d.Counts {
					most = max(most, n)
				}
				dx := x
				dx.Data = make([]float32, 2048)
				require.NoError(t, g.Backward(d, x, Gradient{Weights: make([]float32, 1024), LossScale: make([]float32, 2), DX: dx}))
				g.Params().Grad.Reset()
				g.Rebalance(g.Tally())
				return float64(most)/128 - 1
			}
			before := excess()
			for range 200 {
				excess()
			}
			after := excess()
			t.Logf("the fullest expert is %.0f %% over the mean, then %.0f %%", 100*before, 100*after)
			require.Less(t, after, before/2)
			require.Less(t, after, 0.4)
		})
	}
}

// TestQuantilePrices compares prices with the definition.
func TestQuantilePrices(t *testing.T) {
	logits := [][]float64{{2, 1, 0}, {1, 3, 0}, {4, 0, 2}, {0, 1, 3}, {2, 0, 1}, {3, 1, 2}}
	g := gateWith(t, QuantileBalanced{TopK: TopK{K: 1, Score: Sigmoid}}, logits).(Balancer)
	d, err := g.Route(identity(6), Batch{Ends: []int{6}, Train: true})
	require.NoError(t, err)
	require.NoError(t, g.Backward(d, identity(6), Gradient{Weights: make([]float32, 6), LossScale: make([]float32, 1), DX: identity(6)}))
	require.Equal(t, int64(1), g.Tally()[3])
	s := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	// The thresholds are each token's second score; each expert takes two tokens.
	column := func(e int) (c []float64) {
		for _, row := range logits {
			c = append(c, s(row[e])-s(row[descending(row)[1]]))
		}
		return c
	}
	for e := range 3 {
		c := column(e)
		require.InDelta(t, c[descending(c)[1]], float64(g.Tally()[e])/priceUnits, 1e-6, "expert %d", e)
	}
}
