package router

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSoftplus(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	x, got := make([]float32, 1000), make([]float32, 1000)
	for i := range x {
		x[i] = float32(30 * r.NormFloat64())
	}
	softplus(got, x)
	for i, v := range x {
		want := max(float64(v), 0) + math.Log1p(math.Exp(-math.Abs(float64(v))))
		require.InDelta(t, want, float64(got[i]), 1e-6*want+1e-37, "%v", v)
	}
}

func TestNormalCDF(t *testing.T) {
	for z := -10.0; z <= 10; z += 1.0 / 64 {
		require.InDelta(t, (1+math.Erf(z/math.Sqrt2))/2, normalCDF(z), 2e-7, "%v", z)
	}
	require.Equal(t, 0.5, normalCDF(0))
}

func TestLog1p(t *testing.T) {
	for y := 1.0; y > 1e-300; y *= 0.7 {
		require.InDelta(t, 1, log1p(y)/math.Log1p(y), 1e-14, "%v", y)
	}
	require.Zero(t, log1p(0))
}

// TestGaussian compares moments of many draws with the distribution's.
func TestGaussian(t *testing.T) {
	var p rand.PCG
	p.Seed(1, 2)
	const n = 100000
	var m [4]float64
	for range n / 2 {
		a, b := gaussian(&p)
		for _, v := range []float64{a, b} {
			m[0] += v / n
			m[1] += v * v / n
			m[2] += v * v * v / n
			m[3] += v * v * v * v / n
		}
	}
	require.InDelta(t, 0, m[0], 0.015)
	require.InDelta(t, 1, m[1], 0.02)
	require.InDelta(t, 0, m[2], 0.05)
	require.InDelta(t, 3, m[3], 0.15)
}
