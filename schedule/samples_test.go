package schedule

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestFitFindsTheLine that noisy samples were made from, at sizes as large as they get.
func TestFitFindsTheLine(t *testing.T) {
	random := seeded(3)
	const alpha, beta = 2.87e-4, 2.21e-10
	var s Samples
	for i := range 24 {
		for range 5 {
			size := float64(i+1) * (1 << 18)
			s.Add(size, (alpha+beta*size)*(1+0.01*random.NormFloat64()))
		}
	}
	f, err := s.Fit()
	require.NoError(t, err)
	require.InEpsilon(t, alpha, f.Alpha, 0.02)
	require.InEpsilon(t, beta, f.Beta, 0.02)
	require.Greater(t, f.R2, 0.99)
	require.Equal(t, 120, f.Samples)
	require.Equal(t, []float64{1 << 18, 24 << 18}, []float64{f.Least, f.Most})
}

// TestFitIsLeastSquares compares with the formulas over all samples at once, and with every line
// near the one found.
func TestFitIsLeastSquares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 30).Draw(t, "samples")
		xs, ys := make([]float64, n), make([]float64, n)
		var s Samples
		for i := range n {
			xs[i], ys[i] = float64(rapid.IntRange(0, 1000).Draw(t, "size")), rapid.Float64Range(0, 10).Draw(t, "time")
			s.Add(xs[i], ys[i])
		}
		f, err := s.Fit()
		if s.least == s.most {
			require.ErrorIs(t, err, ErrFewSizes)
			return
		}
		require.NoError(t, err)
		require.Equal(t, n, s.Len())
		squares := func(l Linear) (sum float64) {
			for i := range xs {
				e := ys[i] - l.Time(Work{1, xs[i]})
				sum += e * e
			}
			return sum
		}
		mean := 0.0
		for _, y := range ys {
			mean += y / float64(n)
		}
		least, total := squares(f.Linear), squares(Linear{Alpha: mean})
		if total > 1e-6 {
			require.InDelta(t, max(0, 1-least/total), f.R2, 1e-6)
		}
		for _, da := range []float64{-1e-3, 0, 1e-3} {
			for _, db := range []float64{-1e-5, 0, 1e-5} {
				if near := (Linear{f.Alpha + da, f.Beta + db}); near.Alpha >= 0 && near.Beta >= 0 {
					require.GreaterOrEqual(t, squares(near), least-1e-9, "%+v beside %+v", near, f.Linear)
				}
			}
		}
		require.True(t, f.Alpha >= 0 && f.Beta >= 0 && f.R2 >= 0 && f.R2 <= 1)
	})
}

// TestFitThroughTheOrigin: where least squares gives a negative Alpha, here 2·size - 1, the best
// line without one is sum(size·time) / sum(size²).
func TestFitThroughTheOrigin(t *testing.T) {
	var s Samples
	s.Add(1, 1)
	s.Add(3, 5)
	f, err := s.Fit()
	require.NoError(t, err)
	require.Zero(t, f.Alpha)
	require.InEpsilon(t, (1*1+3*5)/(1.0+9), f.Beta, 1e-12)
}

func TestFitNeedsTwoSizes(t *testing.T) {
	var s Samples
	_, err := s.Fit()
	require.ErrorIs(t, err, ErrFewSizes)
	s.Add(5, 1)
	s.Add(5, 2)
	_, err = s.Fit()
	require.ErrorContains(t, err, "got 2 samples of size 5 to 5")
	require.Panics(t, func() { s.Add(-1, 1) })
	require.Panics(t, func() { s.Add(1, math.Inf(1)) })
}

func TestLinear(t *testing.T) {
	l := Linear{Alpha: 2, Beta: 0.5}
	require.Equal(t, 11.0, l.Time(Work{3, 10}))
}

// TestFitOfEqualTimes: a line through times that are all equal explains them, and has no slope.
func TestFitOfEqualTimes(t *testing.T) {
	var s Samples
	for size := range 3 {
		s.Add(float64(size), 4)
	}
	require.Equal(t, 3, s.Len())
	f, err := s.Fit()
	require.NoError(t, err)
	require.Equal(t, Fit{Linear: Linear{Alpha: 4}, R2: 1, Samples: 3, Least: 0, Most: 2}, f)
}
