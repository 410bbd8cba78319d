package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEightLibraries asks each formula the question to which the libraries give six answers.
func TestEightLibraries(t *testing.T) {
	want := map[Formula]int{
		DeepSpeedCapacity: 7, MegatronCapacity: 7, TutelCapacity: 6, FastMoECapacity: 6,
		MegaBlocksCapacity: 6, FairscaleCapacity: 5, HetuCapacity: 8, FlaxformerCapacity: 3,
	}
	require.Len(t, want, formulas)
	for formula, n := range want {
		config := TopK{K: 2, CapacityFactor: 1.25, Capacity: Capacity{Formula: formula}}
		require.Equal(t, n, config.Bound(10, 4, true), "%v", formula)
	}
}

func TestCapacityOptions(t *testing.T) {
	for _, c := range []struct {
		Capacity
		train bool
		want  int
	}{
		{Capacity{}, true, 5},
		{Capacity{Min: 6}, true, 6},
		{Capacity{Min: 4}, true, 5},
		{Capacity{Align: 4}, true, 8},
		{Capacity{Align: 5, Min: 6}, true, 10},
		{Capacity{EvalFactor: 2}, true, 5},
		{Capacity{EvalFactor: 2}, false, 10},
		{Capacity{EvalFactor: math.Inf(1)}, false, math.MaxInt},
	} {
		require.Equal(t, c.want, TopK{K: 2, CapacityFactor: 1, Capacity: c.Capacity}.Bound(10, 4, c.train), "%+v", c)
	}
	require.Equal(t, math.MaxInt, TopK{K: 2}.Bound(10, 4, true))
	for says, c := range map[string]Capacity{
		"capacity formula 8":   {Formula: 8},
		"evaluation is NaN":    {EvalFactor: math.NaN()},
		"must not be negative": {Min: -1},
	} {
		_, err := TopK{K: 1, Capacity: c}.New(Shape{Dim: 2, Experts: 2})
		require.ErrorContains(t, err, says)
	}
}

// TestCapped expects the capacity to follow the fullest expert up to the factor's bound, and the
// same drops as without it.
func TestCapped(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		logits, ends := randomLogits(r, 16, 4), []int{16}
		config := TopK{K: 2, CapacityFactor: 1.25}
		plain, err := gateWith(t, config, logits).Route(identity(16), Batch{Ends: ends})
		require.NoError(t, err)
		config.Capacity.Capped = true
		capped, err := gateWith(t, config, logits).Route(identity(16), Batch{Ends: ends})
		require.NoError(t, err)
		require.Equal(t, plain.Assignment, capped.Assignment)
		require.Equal(t, []int{10}, plain.GroupCapacity)
		most := 0
		for _, n := range plain.Counts {
			most = max(most, n)
		}
		require.Equal(t, []int{min(10, most)}, capped.GroupCapacity)
	}
}

// TestEvalFactor expects drops by the factor of the mode.
func TestEvalFactor(t *testing.T) {
	logits := [][]float64{{1, 0}, {1, 0}, {1, 0}, {1, 0}}
	g := gateWith(t, TopK{K: 1, CapacityFactor: 1, Capacity: Capacity{EvalFactor: 1.5}}, logits)
	for train, want := range map[bool]int{true: 2, false: 1} {
		d, err := g.Route(identity(4), Batch{Ends: []int{4}, Train: train})
		require.NoError(t, err)
		require.Equal(t, want, d.Dropped)
	}
}

// TestByPriority keeps the tokens that are surest of their best expert, first choices before second
// ones.
func TestByPriority(t *testing.T) {
	logits := [][]float64{{1, 0, -9}, {3, 0, -9}, {0, 2, -9}, {2.5, 0, -9}}
	for drop, want := range map[Drop]string{
		ByPosition: "[0 1 0 1]",
		ByChoice:   "[0 1 0 2]",
		ByPriority: "[1 3 1 2]",
	} {
		g := gateWith(t, TopK{K: 2, Score: SoftmaxBefore, CapacityFactor: 0.75, Drop: drop}, logits)
		d, err := g.Route(identity(4), Batch{Ends: []int{4}})
		require.NoError(t, err)
		require.Equal(t, []int{2}, d.GroupCapacity)
		require.Equal(t, want, fmt.Sprint(d.Token), "%v", drop)
	}
}

// TestAtRandom expects every token to be kept about as often, other tokens in other steps, the same
// ones in the same, and the first ones in evaluation.
func TestAtRandom(t *testing.T) {
	const tokens, steps = 12, 2000
	logits := make([][]float64, tokens)
	for i := range logits {
		logits[i] = []float64{1, 0, 0}
	}
	g := gateWith(t, TopK{K: 1, CapacityFactor: 1, Drop: AtRandom}, logits)
	route := func(step int, train bool) []int32 {
		d, err := g.Route(identity(tokens), Batch{Ends: []int{tokens}, Train: train, Step: step})
		require.NoError(t, err)
		require.Len(t, d.Token, 4)
		return d.Token
	}
	kept := make([]int, tokens)
	for step := range steps {
		for _, token := range route(step, true) {
			kept[token]++
		}
	}
	for token, n := range kept {
		require.InDelta(t, steps*4/tokens, n, 120, "token %d", token) // six deviations
	}
	require.Equal(t, route(7, true), route(7, true))
	require.Equal(t, []int32{0, 1, 2, 3}, route(7, false))
}
