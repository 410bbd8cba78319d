package router

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBASE expects exact balance in each token group in training and the largest logit in
// evaluation, and the sigmoid as weight.
func TestBASE(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	const tokens, experts = 46, 4
	ends := []int{7, 7, 8, 46}
	logits := randomLogits(r, tokens, experts)
	for _, line := range logits {
		line[1] += 5
	}
	g := gateOf(t, BASE{}, logits)
	d, err := g.Route(identity(tokens), Batch{Ends: ends, Train: true})
	require.NoError(t, err)
	require.Len(t, d.Token, tokens)
	begin := 0
	for _, end := range ends {
		for e := range experts {
			from, to := d.Of(ExpertID(e))
			n := 0
			for _, token := range d.Token[from:to] {
				if int(token) >= begin && int(token) < end {
					n++
				}
			}
			require.GreaterOrEqual(t, n, (end-begin)/experts)
			require.LessOrEqual(t, n, BASE{}.Bound(end-begin, experts, true))
		}
		begin = end
	}
	checkSigmoids(t, d, logits)

	eval, err := g.Route(identity(tokens), Batch{Ends: ends})
	require.NoError(t, err)
	checkSigmoids(t, eval, logits)
	for token, line := range logits {
		top := 0
		for e, v := range line {
			if v > line[top] {
				top = e
			}
		}
		require.GreaterOrEqual(t, find(eval, token, top), 0, "token %d", token)
	}
}

func checkSigmoids(t *testing.T, d *Decision, logits [][]float64) {
	for e := range d.Experts {
		begin, end := d.Of(ExpertID(e))
		for i := begin; i < end; i++ {
			require.InDelta(t, 1/(1+math.Exp(-logits[d.Token[i]][e])), float64(d.Weight[i]), 1e-6)
		}
	}
}
