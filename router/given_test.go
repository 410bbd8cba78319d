package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
	"gonum.org/v1/gonum/blas/blas32"
)

// expertsOf returns the experts of each token, ascending.
func expertsOf(d *Decision) [][]int {
	list := make([][]int, d.Tokens)
	for e := range d.Experts {
		begin, end := d.Of(ExpertID(e))
		for _, t := range d.Token[begin:end] {
			list[t] = append(list[t], e)
		}
	}
	return list
}

// routeIdentity routes unit vectors.
func routeIdentity(t *testing.T, r Router, tokens, experts int, b Batch) *Decision {
	g, err := r.New(Shape{Dim: tokens, Experts: experts})
	require.NoError(t, err)
	d, err := g.Route(identity(tokens), b)
	require.NoError(t, err)
	require.NoError(t, d.Validate())
	return d
}

func TestUniform(t *testing.T) {
	d := routeIdentity(t, Uniform{K: 2}, 8, 5, Batch{Ends: []int{6, 8}, Padding: []bool{1: true, 7: false}})
	require.Equal(t, [][]int{{0, 1}, nil, {2, 3}, {0, 4}, {1, 2}, {3, 4}, {0, 1}, {2, 3}}, expertsOf(d))
	require.Equal(t, []float32{.5, .5}, d.Weight[:2])
	d = routeIdentity(t, Uniform{K: 3}, 100, 4, Batch{Ends: []int{100}})
	require.Equal(t, []int{75, 75, 75, 75}, d.Counts)
	_, err := Uniform{K: 5}.New(Shape{Dim: 1, Experts: 4})
	require.EqualError(t, err, "router: Uniform: K is 5, want 1 to the 4 experts")
}

func TestHot(t *testing.T) {
	d := routeIdentity(t, Hot{K: 1, Expert: 2, Share: 0.25}, 120, 4, Batch{Ends: []int{120}})
	require.Equal(t, 30, d.Counts[2])
	require.Len(t, d.Token, 120)
	for _, e := range []int{0, 1, 3} {
		require.InDelta(t, 30, d.Counts[e], 10, "%v", d.Counts)
	}
	d = routeIdentity(t, Hot{K: 3, Expert: 0, Share: 1}, 60, 5, Batch{Ends: []int{60}})
	require.Equal(t, 60, d.Counts[0])
	d = routeIdentity(t, Hot{K: 1, Share: 0}, 3, 1, Batch{Ends: []int{3}})
	require.Equal(t, []int{3}, d.Counts)
	_, err := Hot{K: 4, Expert: 4, Share: 2}.New(Shape{Dim: 1, Experts: 4})
	for _, says := range []string{"K is 4", "expert 4 of 4", "share is 2"} {
		require.ErrorContains(t, err, says)
	}
}

// TestZipf compares loads with what the law says, for K = 1; and expects K different experts, other
// ones at another step.
func TestZipf(t *testing.T) {
	const tokens, experts = 4000, 8
	r := rand.New(rand.NewPCG(1, 2))
	x := dense(tokens, 1, make([]float32, tokens))
	for i := range x.Data {
		x.Data[i] = r.Float32()
	}
	route := func(config Zipf, step int) []int {
		g, err := config.New(Shape{Dim: 1, Experts: experts, Seed: 3})
		require.NoError(t, err)
		d, err := g.Route(x, Batch{Ends: []int{tokens}, Step: step})
		require.NoError(t, err)
		require.NoError(t, d.Validate())
		require.Len(t, d.Token, tokens*config.K)
		return slices.Clone(d.Counts)
	}
	for _, s := range []float64{0, 1, 2} {
		total := 0.0
		for e := range experts {
			total += math.Pow(float64(e+1), -s)
		}
		for e, n := range route(Zipf{K: 1, Exponent: s}, 0) {
			p := math.Pow(float64(e+1), -s) / total
			require.InDelta(t, p*tokens, n, 5*math.Sqrt(tokens*p), "exponent %v, expert %d", s, e)
		}
	}
	require.Equal(t, route(Zipf{K: 2, Exponent: 1}, 0), route(Zipf{K: 2, Exponent: 1}, 0))
	require.NotEqual(t, route(Zipf{K: 2, Exponent: 1}, 0), route(Zipf{K: 2, Exponent: 1}, 1))
	require.Equal(t, slices.Repeat([]int{tokens}, experts), route(Zipf{K: experts, Exponent: 3}, 0))
}

// TestDistinct expects every choice of 3 of 5 exactly once.
func TestDistinct(t *testing.T) {
	seen := map[string]bool{}
	for a := range int32(5) {
		for b := range int32(4) {
			for c := range int32(3) {
				dst := []int32{a, b, c}
				distinct(dst)
				for _, e := range dst {
					require.True(t, e >= 0 && e < 5)
				}
				require.Len(t, slices.Compact(slices.Sorted(slices.Values(dst))), 3)
				seen[fmt.Sprint(dst)] = true
			}
		}
	}
	require.Len(t, seen, 60)
}

func TestGivenRoutesAllocateNothing(t *testing.T) {
	g, err := Uniform{K: 2}.New(Shape{Dim: 64, Experts: 8})
	require.NoError(t, err)
	x, ends := identity(64), []int{32, 64}
	grad := Gradient{Weights: make([]float32, 128), LossScale: make([]float32, 2), DX: identity(64)}
	pass := func() {
		d, err := g.Route(x, Batch{Ends: ends})
		require.NoError(t, err)
		_ = g.Backward(d, x, grad)
	}
	pass()
	require.Zero(t, alloctest.Least(60, pass))
}

// TestStochasticDrawsAllExpertsAlike counts draws: over 16000 of them each expert's share is an
// eighth, within five standard deviations.
func TestStochasticDrawsAllExpertsAlike(t *testing.T) {
	const tokens, experts = 8000, 8
	d := routeIdentity(t, Stochastic{K: 2}, 1, experts, Batch{Ends: []int{1}})
	require.Len(t, d.Token, 2)
	g, err := Stochastic{K: 2}.New(Shape{Dim: 1, Experts: experts, Seed: 3})
	require.NoError(t, err)
	d, err = g.Route(blas32.General{Rows: tokens, Cols: 1, Stride: 1, Data: make([]float32, tokens)}, Batch{Ends: []int{tokens}})
	require.NoError(t, err)
	require.NoError(t, d.Validate())
	for e, n := range d.Counts {
		require.InDelta(t, 2*tokens/experts, n, 5*40, "expert %d", e)
	}
	_, err = Stochastic{K: 9}.New(Shape{Dim: 1, Experts: experts})
	require.EqualError(t, err, "router: Stochastic: K is 9, want 1 to the 8 experts")
}
