package lsh

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

func TestRatesAt(t *testing.T) {
	r := Rates{{Step: 10, Rate: 0.1}, {Step: 20, Rate: 0.3}, {Step: 21, Rate: 1}}
	require.NoError(t, r.Validate())
	for step, want := range map[int]float64{0: 0.1, 10: 0.1, 15: 0.2, 19: 0.28, 20: 0.3, 21: 1, 1 << 40: 1} {
		require.InDelta(t, want, r.At(step), 1e-12, "step %d", step)
	}
	require.Equal(t, "10:0.1 20:0.3 21:1", r.String())
	require.Zero(t, Rates(nil).At(5))
	require.Empty(t, Rates(nil).String())
	require.Equal(t, 0.25, Rates{{Step: 7, Rate: 0.25}}.At(3))
}

func TestRatesThatCannotBe(t *testing.T) {
	err := Rates{{Step: -1, Rate: 0}, {Step: -1, Rate: math.NaN()}, {Step: 5, Rate: 1.1}, {Step: 5, Rate: 1}}.Validate()
	for _, fault := range []string{
		"Rates[0].Step is -1, want 0 or more", "Rates[0].Rate is 0, want above 0 to 1", "Rates[1].Step is -1, want 0 or more",
		"Rates[1].Rate is NaN", "Rates[2].Rate is 1.1", "Rates[3].Step is 5, want 6 or more",
	} {
		require.ErrorContains(t, err, fault)
	}
	require.NotContains(t, err.Error(), "Rates[3].Rate")
}

// TestSetRate: the passes that begin later have the bits of a compressor of that rate, whichever
// rates came before.
func TestSetRate(t *testing.T) {
	r := seeded(t)
	x := clumps(r, 200, 16, 20, 0.3)
	c := compressor(t, Config{Rate: 0.5}, 16, 1)
	for _, rate := range []float64{0.1, 0.7, 0} {
		require.NoError(t, c.SetRate(rate))
		fresh := compressor(t, Config{Rate: rate}, 16, 1)
		require.Equal(t, fresh.Config(), c.Config())
		got, want := like(x), like(x)
		for _, one := range []struct {
			of *Compressor
			to blas32.General
		}{{c, got}, {fresh, want}} {
			m, p := one.of.Compress(x, []int{200})
			require.Equal(t, fresh.Config().Centroids(200), m.Rows)
			p.Restore(one.to, m)
			p.Release()
		}
		requireSameBits(t, want, got, "rate %v", rate)
	}
	for _, wrong := range []float64{-0.1, 1.1, math.NaN()} {
		require.ErrorContains(t, c.SetRate(wrong), "want 0 to 1")
	}
	require.Equal(t, 0.2, c.Config().Rate)
}
