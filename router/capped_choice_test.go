package router

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// perToken counts the experts of each token, and perExpert the tokens of each expert.
func loadsOf(d *Decision) (perToken, perExpert []int) {
	perToken = make([]int, d.Tokens)
	for _, token := range d.Token {
		perToken[token]++
	}
	for e := range d.Experts {
		begin, end := d.Of(ExpertID(e))
		perExpert = append(perExpert, end-begin)
	}
	return perToken, perExpert
}

// TestCappedChoiceKeepsItsCap on scores that all experts and tokens want alike, and on random ones.
func TestCappedChoiceKeepsItsCap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const tokens, experts = 24, 4
	for trial := range 12 {
		most, factor := 1+trial%3, 1+float64(r.IntN(2))
		config := ExpertChoice{CapacityFactor: min(factor, float64(most)), Cap: most, Score: []Score{SoftmaxBefore, Sigmoid}[trial%2]}
		logits := randomLogits(r, tokens, experts)
		if trial > 5 { // a few tokens that all experts like best
			for _, line := range logits[:5] {
				for e := range line {
					line[e] += 3
				}
			}
		}
		d, err := gateWith(t, config, logits).Route(identity(tokens), Batch{Ends: []int{tokens}, Train: true})
		require.NoError(t, err)
		require.NoError(t, d.Validate())
		perToken, perExpert := loadsOf(d)
		k := config.Bound(tokens, experts, true)
		for token, n := range perToken {
			require.LessOrEqual(t, n, most, "token %d", token)
		}
		total := 0
		for e, n := range perExpert {
			require.LessOrEqual(t, n, k, "expert %d", e)
			total += n
		}
		require.GreaterOrEqual(t, total, experts*k*9/10, "%d of %d choices are filled", total, experts*k)
	}
}

// TestCappedChoiceIsNearlyTheBest compares the sum of the scores with the best of all choices that
// keep both bounds.
func TestCappedChoiceIsNearlyTheBest(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 0)) // always the same cases: how near is a matter of luck
	const tokens, experts = 6, 3
	const trials = 30
	sum := 0.0
	for range trials {
		config := ExpertChoice{CapacityFactor: 1, Cap: 1, Score: Sigmoid}
		logits := randomLogits(r, tokens, experts)
		d, err := gateWith(t, config, logits).Route(identity(tokens), Batch{Ends: []int{tokens}, Train: true})
		require.NoError(t, err)
		got := 0.0
		for _, w := range d.Weight {
			got += float64(w)
		}
		best := bestChoice(logits, tokens/experts)
		require.GreaterOrEqual(t, got, 0.9*best)
		sum += got / best
	}
	require.Greater(t, sum/trials, 0.99)
}

// bestChoice tries all ways to give each of three experts k tokens, no token to two.
func bestChoice(logits [][]float64, k int) float64 {
	best, all := 0.0, uint(1)<<len(logits)
	worth := func(set uint, e int) float64 {
		s := 0.0
		for t, line := range logits {
			if set>>t&1 == 1 {
				s += slowScore(line, true, e)
			}
		}
		return s
	}
	for a := range all {
		for b := range all {
			if c := (all - 1) &^ (a | b); a&b == 0 && bits.OnesCount(a) == k && bits.OnesCount(b) == k && bits.OnesCount(c) == k {
				best = max(best, worth(a, 0)+worth(b, 1)+worth(c, 2))
			}
		}
	}
	return best
}

// TestCappedChoiceOfAlikeTokens gives the first tokens to the first experts.
func TestCappedChoiceOfAlikeTokens(t *testing.T) {
	logits := make([][]float64, 6)
	for i := range logits {
		logits[i] = make([]float64, 3)
	}
	d, err := gateWith(t, ExpertChoice{CapacityFactor: 1, Cap: 1}, logits).Route(identity(6), Batch{Ends: []int{6}, Train: true})
	require.NoError(t, err)
	require.Equal(t, []int32{0, 1, 2, 3, 4, 5}, d.Token)
	require.Equal(t, []int{2, 4, 6}, d.Ends)
}

// TestProjectionsConverge to a matrix within all bounds.
func TestProjectionsConverge(t *testing.T) {
	const tokens, experts, k, most = 12, 3, 6, 2
	g := gateWith(t, ExpertChoice{CapacityFactor: float64(k*experts) / tokens, Cap: most, Entropy: 0.1}, randomLogits(rand.New(rand.NewPCG(3, 4)), tokens, experts)).(*expertChoice)
	_, err := g.Route(identity(tokens), Batch{Ends: []int{tokens}, Train: true})
	require.NoError(t, err)
	columns := make([]float64, tokens)
	for e := range experts {
		total := 0.0
		for i, v := range g.capped.a.row(e) {
			require.LessOrEqual(t, v, 1e-9)
			total += math.Exp(v)
			columns[i] += math.Exp(v)
		}
		require.InDelta(t, k, total, 1e-3)
	}
	for _, v := range columns {
		require.LessOrEqual(t, v, most+1e-3)
	}
}
