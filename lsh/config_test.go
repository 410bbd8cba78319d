package lsh

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestZeroConfigWorks(t *testing.T) {
	require.NoError(t, Config{}.Validate())
	c := compressor(t, Config{}, 10, 2).Config()
	require.Equal(t, Config{Hashes: 6, Width: 8, Rate: 0.2, Refine: 3}, c)
	require.NoError(t, Config{Family: Hyperplane}.Validate())
}

func TestValidateReportsAllFaults(t *testing.T) {
	nan := float32(math.NaN())
	err := Config{Family: 9, Hashes: -1, Width: -1, Rate: 1.5, Bucketing: -1, Centre: 7, Refine: -2, Compensation: 8, Gain: nan,
		Bandwidth: -1, Ridge: nan, Workers: -2}.Validate()
	require.Error(t, err)
	for _, field := range []string{"Family 9", "Hashes is -1", "Width is -1", "Rate is 1.5", "Bucketing -1", "Centre 7",
		"Refine is -2", "Compensation 8", "Gain is NaN", "Bandwidth is -1", "Ridge is NaN", "Workers is -2"} {
		require.ErrorContains(t, err, field)
	}
	require.ErrorContains(t, Config{Hashes: 17}.Validate(), "64 bits")
	require.ErrorContains(t, Config{Hashes: math.MaxInt/2 + 1, Width: math.MaxInt/2 + 1}.Validate(), "64 bits")
	require.ErrorContains(t, Config{Family: Hyperplane, Hashes: 5, Width: 13}.Validate(), "64 bits")
	require.NoError(t, Config{Hashes: 16, Refine: 1000}.Validate())
	require.ErrorContains(t, Config{Refine: 1 << 40}.Validate(), "Refine is 1099511627776, want -1 to 1000", "a pass would not end")
	require.ErrorContains(t, Config{Rate: math.NaN()}.Validate(), "Rate")
	_, err = New(Config{Rate: -1}, 8, 1)
	require.Error(t, err)
	_, err = New(Config{}, 0, 1)
	require.Error(t, err)
	_, err = New(Config{}, 8, -1)
	require.Error(t, err)
}

func TestCentroids(t *testing.T) {
	for _, c := range []struct {
		rate       float64
		rows, want int
	}{
		{0.2, 0, 0}, {0.2, 1, 1}, {0.2, 5, 1}, {0.2, 6, 2}, {0.2, 10, 2}, {0.2, 15, 3}, {0.2, 1000, 200}, {0.2, 1001, 201},
		{0.07, 100, 7}, {0.1, 30, 3}, {0.29, 100, 29}, {1, 7, 7}, {1e-9, 7, 1}, {0.999, 7, 7}, {0, 10, 2}, {0.5, -3, 0},
	} {
		require.Equal(t, c.want, Config{Rate: c.rate}.Centroids(c.rows), "%v of %d", c.rate, c.rows)
	}
}

func TestNames(t *testing.T) {
	require.Equal(t, "cross-polytope", CrossPolytope.String())
	require.Equal(t, "hyperplane", Hyperplane.String())
	require.Equal(t, "controlled", Controlled.String())
	require.Equal(t, "origin", Origin.String())
	require.Equal(t, "interpolate", Interpolate.String())
	require.Equal(t, "Compensation(99)", Compensation(99).String())
}

// TestLimitsOfConfig: each limit itself is allowed, and the next value is not.
func TestLimitsOfConfig(t *testing.T) {
	for says, c := range map[string]struct{ within, beyond Config }{
		"Family":       {Config{Family: Family(families - 1)}, Config{Family: Family(families)}},
		"Bucketing":    {Config{Bucketing: Bucketing(bucketings - 1)}, Config{Bucketing: Bucketing(bucketings)}},
		"Centre":       {Config{Centre: Centre(centres - 1)}, Config{Centre: Centre(centres)}},
		"Compensation": {Config{Compensation: Compensation(compensations - 1)}, Config{Compensation: Compensation(compensations)}},
		"Refine":       {Config{Refine: maxRefine}, Config{Refine: maxRefine + 1}},
		"Refine is -2": {Config{Refine: -1}, Config{Refine: -2}},
		"Rate":         {Config{Rate: 1}, Config{Rate: 1.0000001}},
		"tuple": {
			Config{Family: Hyperplane, Hashes: 64, Width: 1}, Config{Family: Hyperplane, Hashes: 65, Width: 1},
		},
	} {
		require.NoError(t, c.within.Validate(), says)
		require.ErrorContains(t, c.beyond.Validate(), says)
	}
}
