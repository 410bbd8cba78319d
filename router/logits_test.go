package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
	"gonum.org/v1/gonum/blas/blas32"
)

// someLogits returns logits with many equal ones.
func someLogits(tokens, experts int) blas32.General {
	r := rand.New(rand.NewPCG(uint64(tokens), uint64(experts)))
	m := blas32.General{Rows: tokens, Cols: experts, Stride: experts, Data: make([]float32, tokens*experts)}
	for i := range m.Data {
		m.Data[i] = float32(r.IntN(4*experts)-2*experts) / 8
	}
	return m
}

func logitGate(t *testing.T, r Router, experts int) LogitRouter {
	g, err := r.New(Shape{Dim: 3, Experts: experts})
	require.NoError(t, err)
	return g.(LogitRouter)
}

// The fast path has the bits of the long one, on which a loss with the coefficient 0 sends a gate.
func TestQuickWayHasTheBitsOfTheLongOne(t *testing.T) {
	for _, experts := range []int{1, 3, 8, 16, 24, 64, 100, 256} {
		for _, k := range []int{1, 2, 8} {
			factor := float64(k % 2) // with and without a bound
			for _, score := range []Score{SoftmaxAfter, SoftmaxBefore, Sigmoid} {
				for renorm := range Renormalize(renormalizes) {
					k := min(k, experts)
					r := TopK{K: k, Score: score, Renormalize: renorm, CapacityFactor: factor}
					long := r
					long.Losses = []Loss{ImportanceLoss(0)}
					require.False(t, logitGate(t, long, experts).(*tokenChoice).plain())
					require.True(t, logitGate(t, r, experts).(*tokenChoice).plain())
					logits, b := someLogits(150, experts), Batch{Ends: []int{40, 40, 150}}
					want, err := logitGate(t, long, experts).RouteLogits(logits, b)
					require.NoError(t, err)
					got, err := logitGate(t, r, experts).RouteLogits(logits, b)
					require.NoError(t, err)
					name := fmt.Sprintf("%d experts, k = %d, %v, %v", experts, k, score, renorm)
					require.Equal(t, want.Assignment, got.Assignment, name)
					require.Equal(t, want.Counts, got.Counts, name)
					require.Equal(t, want.Dropped, got.Dropped, name)
					require.Equal(t, want.GroupCapacity, got.GroupCapacity, name)
				}
			}
		}
	}
}

func TestLogitsAreRoutedAsTokensAre(t *testing.T) {
	gate := gateWith(t, TopK{K: 2, Score: SoftmaxBefore}, [][]float64{{1, 2, 3}, {3, 1, 2}, {0, 0, 5}})
	x := identity(3)
	want, err := gate.Route(x, Batch{Ends: []int{3}})
	require.NoError(t, err)
	logits := blas32.General{Rows: 3, Cols: 3, Stride: 4, Data: []float32{1, 2, 3, 9, 3, 1, 2, 9, 0, 0, 5}}
	l := logitGate(t, TopK{K: 2, Score: SoftmaxBefore}, 3)
	got, err := l.RouteLogits(logits, Batch{Ends: []int{3}})
	require.NoError(t, err)
	require.Equal(t, want.Assignment, got.Assignment)

	padded, err := l.RouteLogits(logits, Batch{Ends: []int{3}, Padding: []bool{false, true, false}})
	require.NoError(t, err)
	require.Equal(t, []int32{2, 0, 0, 2}, padded.Token)
	require.Equal(t, float32(3), logits.Data[4], "the caller's logits stay as they are")
}

func TestReleasedDecisionsAreUsedAgain(t *testing.T) {
	l := logitGate(t, TopK{K: 2, Score: SoftmaxBefore}, 8)
	logits, b := someLogits(64, 8), Batch{Ends: []int{64}}
	pass := func() {
		d, err := l.RouteLogits(logits, b)
		require.NoError(t, err)
		l.Release(d)
	}
	pass()
	require.Zero(t, alloctest.Least(60, pass))
	d, err := l.RouteLogits(logits, b)
	require.NoError(t, err)
	l.Release(d)
	require.Panics(t, func() { l.Release(d) }, "twice")
	require.Panics(t, func() { logitGate(t, TopK{K: 1}, 8).Release(d) }, "another gate's")
}

func TestLogitsMustBeFinite(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		l := logitGate(t, TopK{K: 2, Score: SoftmaxBefore}, 8)
		logits := someLogits(40, 8)
		logits.Data[8*33+5] = float32(bad)
		_, err := l.RouteLogits(logits, Batch{Ends: []int{30, 40}})
		require.ErrorContains(t, err, "token 33 (row 3 of group 1): score of expert 5 is")
		logits.Data[8*33+5] = 0
		_, err = l.RouteLogits(logits, Batch{Ends: []int{30, 40}})
		require.NoError(t, err, "the gate can go on")
	}
}

// TestNoHoldOnLogitsAfterAnError: a gate that failed does not keep the caller's memory alive.
func TestNoHoldOnLogitsAfterAnError(t *testing.T) {
	l := logitGate(t, TopK{K: 2, Score: SoftmaxBefore}, 8)
	logits := someLogits(40, 8)
	logits.Data[3] = float32(math.NaN())
	_, err := l.RouteLogits(logits, Batch{Ends: []int{40}})
	require.Error(t, err)
	free := l.(*tokenChoice).free
	require.Len(t, free, 1)
	require.Nil(t, free[0].Saved.(*choices).logits.data)
	require.Nil(t, free[0].Saved.(*choices).in.x.Data)
}

// A backward pass after the fast path needs the scores of all experts, which that left out.
func TestBackwardAfterTheQuickWay(t *testing.T) {
	logits := [][]float64{{1, 2, 3}, {3, 1, 2}, {0, 0, 5}}
	gradient := func(losses ...Loss) []float32 {
		g := gateWith(t, TopK{K: 2, Score: SoftmaxBefore, Losses: losses}, logits)
		x := identity(3)
		var grad []float32
		for range 2 { // the second time with memory that has been used
			d, err := g.Route(x, Batch{Ends: []int{3}, Train: true})
			require.NoError(t, err)
			dx := identity(3)
			require.NoError(t, g.Backward(d, x, Gradient{Weights: []float32{1, 2, 3, 4, 5, 6}, LossScale: []float32{1}, DX: dx}))
			grad = append(grad, dx.Data...)
			g.Params().Grad.Reset()
		}
		return grad
	}
	require.Equal(t, gradient(ImportanceLoss(0)), gradient())
}
