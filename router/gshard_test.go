package router

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNamedRouters expects Switch and GShard to be the modes of TopK that their papers have.
func TestNamedRouters(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	logits := randomLogits(rand.New(rand.NewPCG(seed, 0)), 20, 6)
	losses := []Loss{SwitchLoss(1)}
	for _, c := range []struct{ got, want Router }{
		{Switch{CapacityFactor: 1, Losses: losses}, TopK{K: 1, Score: SoftmaxBefore, CapacityFactor: 1, Losses: losses}},
		{
			GShard{CapacityFactor: 1, Losses: losses},
			TopK{K: 2, Score: SoftmaxBefore, Renormalize: RenormalizeAfterDrop, Drop: ByChoice, CapacityFactor: 1, Losses: losses},
		},
	} {
		want, err := gateWith(t, c.want, logits).Route(identity(20), Batch{Ends: []int{8, 20}, Train: true})
		require.NoError(t, err)
		got, err := gateWith(t, c.got, logits).Route(identity(20), Batch{Ends: []int{8, 20}, Train: true})
		require.NoError(t, err)
		require.Equal(t, want.Assignment, got.Assignment)
		require.Equal(t, want.GroupLoss, got.GroupLoss)
	}
}

// TestRandomSecond expects a second expert as often as twice its share of both weights, and a token
// without one to give all its weight to the first.
func TestRandomSecond(t *testing.T) {
	steps := draws()
	second := []float64{0.1, 0.4}
	var logits [][]float64
	for _, p := range second {
		logits = append(logits, []float64{math.Log(1 - p), math.Log(p), -20})
	}
	g := gateWith(t, GShard{RandomSecond: true}, logits)
	seen := make([]float64, len(second))
	for step := range steps {
		d, err := g.Route(identity(2), Batch{Ends: []int{2}, Train: true, Step: step})
		require.NoError(t, err)
		require.Zero(t, d.Dropped)
		require.Equal(t, d.Ends[1], d.Counts[0]+d.Counts[1], "what was withdrawn is not counted")
		for token := range second {
			if i := find(d, token, 1); i >= 0 {
				seen[token]++
			} else {
				require.Equal(t, float32(1), d.Weight[find(d, token, 0)])
			}
		}
		require.NoError(t, g.Backward(d, identity(2), Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{1}, DX: identity(2)}))
		g.Params().Grad.Reset()
	}
	for token, p := range second {
		p *= 2
		require.InDelta(t, p, seen[token]/float64(steps), 6*math.Sqrt(p*(1-p)/float64(steps)))
	}
	d, err := g.Route(identity(2), Batch{Ends: []int{2}})
	require.NoError(t, err)
	require.Equal(t, []int{2, 2, 0}, d.Counts, "none is withdrawn in evaluation")
}

// TestNoisySecond expects the first expert always, and the second drawn by the softmax over the
// others.
func TestNoisySecond(t *testing.T) {
	steps := draws()
	g := gateWith(t, GShard{NoisySecond: true}, [][]float64{{3, 0, math.Log(3)}})
	third := 0.0
	for step := range steps {
		d, err := g.Route(identity(1), Batch{Ends: []int{1}, Train: true, Step: step})
		require.NoError(t, err)
		require.Equal(t, 1, d.Counts[0])
		third += float64(d.Counts[2])
		require.NoError(t, g.Backward(d, identity(1), Gradient{Weights: make([]float32, 2), LossScale: []float32{1}, DX: identity(1)}))
		g.Params().Grad.Reset()
	}
	require.InDelta(t, 0.75, third/float64(steps), 6*math.Sqrt(0.75*0.25/float64(steps)))
}
