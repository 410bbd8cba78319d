package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGroupLimitedReference compares choices, weights, losses and gradients with the reference, for
// every way of scoring groups, with and without a bias.
func TestGroupLimitedReference(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for score := range Score(scores) {
		for rule := range GroupScore(groupScores) {
			for _, zero := range []bool{false, true} {
				for _, biased := range []bool{false, true} {
					if biased && score != Sigmoid && score != SqrtSoftplus {
						continue
					}
					config := GroupLimited{
						TopK:   TopK{K: 2, Score: score, CapacityFactor: 1.25, Scale: 2.5, Losses: allLosses()},
						Groups: 3, Keep: 2, GroupScore: rule, FillZero: zero,
					}
					if rule == GroupTopShare {
						config.K = 4
					}
					if biased {
						config.Bias = []float32{-1, 0.5, -2, 0.25, -0.5, -0.75}
					}
					t.Run(fmt.Sprintf("%v/%v/zero=%v/biased=%v", score, rule, zero, biased), func(t *testing.T) {
						ref := &reference{TopK: config.TopK}
						ref.choose = func(logits []float64) []int { return slowlyInGroups(config, ref.scoresOf, logits) }
						checkRouter(t, r, config, ref)
					})
				}
			}
		}
	}
}

// slowlyInGroups is GroupLimited's rule as one would say it.
func slowlyInGroups(r GroupLimited, scoresOf func([]float64) []float64, logits []float64) []int {
	score := logits
	if r.Score != SoftmaxAfter {
		score = scoresOf(logits)
	}
	score = slices.Clone(score)
	for e, b := range r.Bias {
		score[e] += float64(b)
	}
	size := len(score) / r.Groups
	groups := make([]float64, r.Groups)
	for g := range groups {
		best := slices.Clone(score[g*size : (g+1)*size])
		slices.Sort(best)
		slices.Reverse(best)
		n := map[GroupScore]int{GroupMax: 1, GroupTopTwo: 2, GroupTopShare: r.K / r.Keep}[r.GroupScore]
		for _, v := range best[:n] {
			groups[g] += v
		}
	}
	for _, g := range descending(groups)[r.Keep:] {
		for e := g * size; e < (g+1)*size; e++ {
			if score[e] = math.Inf(-1); r.FillZero {
				score[e] = 0
			}
		}
	}
	return descending(score)[:r.K]
}

// TestFillZero expects an expert outside the kept group to win against a negative biased score
// inside, and to be weighed by its own score.
func TestFillZero(t *testing.T) {
	config := GroupLimited{
		TopK:   TopK{K: 2, Score: Sigmoid, Renormalize: RenormalizeNever, Bias: []float32{0, -2, -3, -3}},
		Groups: 2, Keep: 1, GroupScore: GroupMax,
	}
	for zero, want := range map[bool][]int{false: {1, 1, 0, 0}, true: {1, 0, 1, 0}} {
		config.FillZero = zero
		d, err := gateWith(t, config, [][]float64{{2, 0, 1, 0}}).Route(identity(1), Batch{Ends: []int{1}})
		require.NoError(t, err)
		require.Equal(t, want, d.Counts, "fill zero: %v", zero)
		if zero {
			require.InDelta(t, 1/(1+math.Exp(-1)), float64(d.Weight[1]), 1e-6)
		}
	}
}

// TestGroupTopShareTakesAShare of K from each group: with K = 2 of 2 kept groups, groups with one
// high score are before one with many middling ones.
func TestGroupTopShareTakesAShare(t *testing.T) {
	config := GroupLimited{TopK: TopK{K: 2}, Groups: 3, Keep: 2, GroupScore: GroupTopShare}
	logits := [][]float64{{9, 0, 0, 0, 6, 6, 6, 6, 7, 0, 0, 0}}
	d, err := gateWith(t, config, logits).Route(identity(1), Batch{Ends: []int{1}})
	require.NoError(t, err)
	require.Equal(t, []int{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, d.Counts)
}

func TestGroupLimitedFaults(t *testing.T) {
	for says, config := range map[string]GroupLimited{
		"3 groups for 4 experts":                     {TopK: TopK{K: 1}, Groups: 3, Keep: 1},
		"0 groups for 4 experts":                     {TopK: TopK{K: 1}, Keep: 1},
		"keeps 3 groups of 2":                        {TopK: TopK{K: 1}, Groups: 2, Keep: 3},
		"1 groups of 2 experts hold less than K = 3": {TopK: TopK{K: 3}, Groups: 2, Keep: 1},
		"unknown group score 9":                      {TopK: TopK{K: 1}, Groups: 2, Keep: 1, GroupScore: 9},
		"GroupLimited: K is 0":                       {Groups: 2, Keep: 1},
	} {
		_, err := config.New(Shape{Dim: 2, Experts: 4})
		require.ErrorContains(t, err, says)
	}
}
