package quality

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/quant"
	"github.com/switchyard-moe/switchyard/lsh"
)

// clusters are those of rows rows at a fifth, with gradients of all rows in NVFP4.
func clusters(rows int, c lsh.Config) Way {
	return Way{Legs: [4]quant.Format{0, 0, quant.NVFP4H, quant.NVFP4H}, Clusters: Clusters{c, rows}}
}

// TestPredictsErrors that were measured on real rows, within a factor.
func TestPredictsErrors(t *testing.T) {
	for name, c := range map[string]struct {
		way    Way
		output float64
	}{
		"nvfp4":            {Everywhere(quant.NVFP4), 0.108},
		"mxfp4":            {Everywhere(quant.MXFP4), 0.133},
		"fp8":              {Everywhere(quant.FP8), 0.029},
		"none, 64 rows":    {clusters(64, lsh.Config{Compensation: lsh.None}), 0.47},
		"none, 12000 rows": {clusters(12000, lsh.Config{Compensation: lsh.None}), 0.136},
		"none, 10 %":       {clusters(1000, lsh.Config{Compensation: lsh.None, Rate: 0.1}), 0.312},
		"none, 40 %":       {clusters(1000, lsh.Config{Compensation: lsh.None, Rate: 0.4}), 0.142},
		"interpolated":     {clusters(1000, lsh.Config{}), 0.117},
		"paper":            {clusters(1000, lsh.Config{Compensation: lsh.Identity, Refine: -1}), 0.48},
	} {
		got := c.way.Errors().Output
		require.InDelta(t, 0, math.Log(got/c.output), math.Log(1.3), "%s: predicted %.3f, measured %.3f", name, got, c.output)
	}
}

// TestPredictsLoss of trainings from a checkpoint, within 0.15 of the gain or a fifth.
func TestPredictsLoss(t *testing.T) {
	for name, c := range map[string]struct {
		way  Way
		lost float64
	}{
		"fp8":                       {Everywhere(quant.FP8), 0},
		"nvfp4":                     {Everywhere(quant.NVFP4H), 0.04},
		"mxfp4":                     {Everywhere(quant.MXFP4H), 0.07},
		"clusters, 256 rows":        {clusters(256, lsh.Config{}), 0.7},
		"clusters, 1024 rows":       {clusters(1024, lsh.Config{}), 0.215},
		"clusters, 4096 rows":       {clusters(4096, lsh.Config{}), 0.077},
		"none, all legs, 1024 rows": {Way{Clusters: Clusters{lsh.Config{Compensation: lsh.None}, 1024}, ClusterGradients: true}, 0.57},
		"clusters on all legs":      {Way{Clusters: Clusters{lsh.Config{}, 1024}, ClusterGradients: true}, 0.36},
		"paper, 1024 rows":          {Way{Clusters: Clusters{lsh.Config{Compensation: lsh.Identity, Refine: -1}, 1024}, ClusterGradients: true}, 1.5},
	} {
		got := c.way.Lost()
		require.InDelta(t, c.lost, got, max(0.15, c.lost/5), "%s: predicted %.3f", name, got)
	}
}

// TestLosesLess with more rows, a larger rate and more bits, and nothing where nothing is rounded.
func TestLosesLess(t *testing.T) {
	require.Zero(t, Way{}.Lost())
	require.Equal(t, Errors{}, Way{}.Errors())
	require.Zero(t, Clusters{Config: lsh.Config{Rate: 1}, Rows: 10}.Lost(true))
	for rows := 16; rows < 1<<20; rows *= 2 {
		for _, rate := range []float64{0.05, 0.1, 0.2, 0.4} {
			c := lsh.Config{Rate: rate}
			require.Greater(t, Clusters{c, rows}.Lost(false), Clusters{c, 2 * rows}.Lost(false))
			require.Greater(t, Clusters{c, rows}.Lost(true), Clusters{c, rows}.Lost(false))
			require.Greater(t, Clusters{c, rows}.Lost(false), Clusters{lsh.Config{Rate: 2 * rate}, rows}.Lost(false))
		}
	}
	for l := range Leg(legs) {
		require.Zero(t, LostLeg(l, quant.Float32))
		require.Less(t, LostLeg(l, quant.BF16), LostLeg(l, quant.FP8))
		require.Less(t, LostLeg(l, quant.FP8), LostLeg(l, quant.NVFP4H))
		require.Less(t, LostLeg(l, quant.NVFP4H), LostLeg(l, quant.MXFP4H))
	}
	require.Less(t, LostLeg(CombineBack, quant.NVFP4), LostLeg(Combine, quant.NVFP4))
}

func TestBytesRatio(t *testing.T) {
	require.InDelta(t, 1, Way{}.BytesRatio(128), 1e-9)
	require.InDelta(t, 0.5, Everywhere(quant.BF16).BytesRatio(128), 1e-9)
	require.InDelta(t, 0.2, Way{Clusters: Clusters{Rows: 100}, ClusterGradients: true}.BytesRatio(128), 1e-9)
	w := Way{Legs: [4]quant.Format{quant.BF16, quant.BF16, quant.NVFP4H, quant.NVFP4H}, Clusters: Clusters{Rows: 1000}}
	nvfp4 := float64(quant.NVFP4H.Bytes(128))
	require.InDelta(t, (3*0.2*256+2*nvfp4+3)/2048, w.BytesRatio(128), 1e-9)
}

// TestKnowsEveryFormat: a new one needs a figure here.
func TestKnowsEveryFormat(t *testing.T) {
	for _, name := range quant.Names() {
		f, err := quant.Parse(name)
		require.NoError(t, err)
		require.Equal(t, f != quant.Float32, squareOf(f) > 0, name)
	}
}

func TestRowsFor(t *testing.T) {
	for _, c := range []lsh.Config{{}, {Rate: 0.05}, {Compensation: lsh.None}, {Compensation: lsh.Identity, Refine: -1}} {
		for _, lost := range []float64{0.02, 0.1, 0.5} {
			n, ok := RowsFor(c, lost)
			require.True(t, ok)
			require.LessOrEqual(t, Clusters{c, n}.Lost(false), lost)
			require.Greater(t, Clusters{c, n - 1}.Lost(false), lost)
		}
	}
	_, ok := RowsFor(lsh.Config{Compensation: lsh.Identity, Refine: -1}, 1e-9)
	require.False(t, ok)
	n, ok := RowsFor(lsh.Config{Rate: 1}, 0)
	require.True(t, ok)
	require.Equal(t, 1, n)
}
