package router

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTopKSelection compares topK with a stable sort, on scores among which many are equal.
func TestTopKSelection(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		scores, want := make([]float32, 1+r.IntN(20)), []int32{}
		for e := range scores {
			scores[e], want = float32(r.IntN(6)-3), append(want, int32(e))
		}
		slices.SortStableFunc(want, func(a, b int32) int { return cmp.Compare(scores[b], scores[a]) })
		best := make([]int32, 1+r.IntN(len(scores)))
		topK(best, scores)
		require.Equal(t, want[:len(best)], best, "%v", scores)
	}
}

func TestFirstInfinite(t *testing.T) {
	finite := []float32{0, -1, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, float32(math.Copysign(0, -1))}
	require.Equal(t, -1, firstInfinite(finite))
	require.Equal(t, -1, firstInfinite(nil))
	for i := range finite {
		for _, bad := range []float64{math.NaN(), math.Copysign(math.NaN(), -1), math.Inf(1), math.Inf(-1)} {
			x := slices.Clone(finite)
			x[i] = float32(bad)
			require.Equal(t, i, firstInfinite(x), "%v", bad)
		}
	}
}

func TestLn(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 10000 {
		x := math.Exp(20*r.Float64() - 10)
		require.InDelta(t, math.Log(x), ln(x), 4e-15, "%v", x)
	}
	require.Zero(t, ln(1))
}
