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

// TestPredictsErrors that bench lsh -task errors measured, within a factor of 1.3.
func TestPredictsErrors(t *testing.T) {
	of := func(rows int, rate float64, c lsh.Config, gradients bool) Way {
		c.Rate = rate
		return Way{Clusters: Clusters{c, rows}, ClusterGradients: gradients}
	}
	interpolated, none, paper := lsh.Config{}, lsh.Config{Compensation: lsh.None}, lsh.Config{Compensation: lsh.Identity, Refine: -1}
	once := func(c lsh.Config) lsh.Config { c.Refine = 1; return c }
	alone := func(l Leg) (w Way) { w.Legs[l] = quant.NVFP4H; return w }
	fewBits := func(rows int, rate float64, f quant.Format) Way {
		w := of(rows, rate, interpolated, false)
		w.Legs = [4]quant.Format{f, f, quant.NVFP4H, quant.NVFP4H}
		return w
	}
	for name, c := range map[string]struct {
		way Way
		is  Errors // 0: smaller than a thousandth
	}{
		"fp8":            {Everywhere(quant.FP8), Errors{0.030, 0.019, 0.035}},
		"fp8-expanded":   {Everywhere(quant.FP8Expanded), Errors{0.017, 0.011, 0.020}},
		"mxfp8":          {Everywhere(quant.MXFP8), Errors{0.030, 0.020, 0.036}},
		"int8":           {Everywhere(quant.Int8), Errors{0.007, 0.005, 0.009}},
		"nvfp4-h":        {Everywhere(quant.NVFP4H), Errors{0.109, 0.099, 0.130}},
		"mxfp4-h":        {Everywhere(quant.MXFP4H), Errors{0.130, 0.093, 0.153}},
		"int4-h":         {Everywhere(quant.Int4H), Errors{0.125, 0.101, 0.148}},
		"nvfp4 there":    {alone(Dispatch), Errors{0.060, 0.055, 0.062}},
		"nvfp4 home":     {alone(Combine), Errors{0.091, 0, 0}},
		"nvfp4 back":     {alone(DispatchBack), Errors{0, 0.083, 0.066}},
		"nvfp4 back end": {alone(CombineBack), Errors{0, 0, 0.094}},

		"interpolated, 256":        {of(256, 0.2, interpolated, true), Errors{0.244, 0.268, 0.961}},
		"interpolated, 1024":       {of(1024, 0.2, interpolated, true), Errors{0.117, 0.154, 0.967}},
		"interpolated, 4096":       {of(4096, 0.2, interpolated, true), Errors{0.073, 0.100, 0.943}},
		"interpolated, 16384":      {of(16384, 0.2, interpolated, true), Errors{0.053, 0.070, 0.921}},
		"interpolated, 1024, 5 %":  {of(1024, 0.05, interpolated, true), Errors{0.267, 0.305, 1.000}},
		"interpolated, 1024, 10 %": {of(1024, 0.1, interpolated, true), Errors{0.179, 0.222, 0.995}},
		"interpolated, 4096, 40 %": {of(4096, 0.4, interpolated, true), Errors{0.049, 0.061, 0.791}},
		"interpolated once, 256":   {of(256, 0.2, once(interpolated), true), Errors{0.263, 0.285, 0.981}},
		"interpolated once, 1024":  {of(1024, 0.2, once(interpolated), true), Errors{0.128, 0.167, 0.967}},
		"interpolated once, 16384": {of(16384, 0.2, once(interpolated), true), Errors{0.065, 0.080, 0.889}},
		"none once, 64":            {of(64, 0.2, once(none), true), Errors{0.516, 0.474, 0.909}},
		"none once, 1024":          {of(1024, 0.2, once(none), true), Errors{0.265, 0.251, 0.883}},
		"none once, 16384, 10 %":   {of(16384, 0.1, once(none), true), Errors{0.176, 0.187, 0.903}},
		"none, 64":                 {of(64, 0.2, none, true), Errors{0.489, 0.448, 0.908}},
		"none, 1024":               {of(1024, 0.2, none, true), Errors{0.240, 0.231, 0.880}},
		"none, 16384, 10 %":        {of(16384, 0.1, none, true), Errors{0.159, 0.174, 0.894}},
		"paper, 1024":              {of(1024, 0.2, paper, true), Errors{0.569, 0.393, 1.259}},
		"paper, 4096, 40 %":        {of(4096, 0.4, paper, true), Errors{0.248, 0.159, 0.972}},

		"clusters, 1024":       {fewBits(1024, 0.2, quant.BF16), Errors{0.117, 0.154, 0.270}},
		"clusters, 1024, 10 %": {fewBits(1024, 0.1, quant.BF16), Errors{0.179, 0.222, 0.331}},
		"clusters, 1024, 40 %": {fewBits(1024, 0.4, quant.BF16), Errors{0.067, 0.088, 0.199}},
		"clusters, fp8":        {fewBits(1024, 0.2, quant.FP8), Errors{0.121, 0.155, 0.270}},
	} {
		got := c.way.Errors()
		for what, pair := range map[string][2]float64{"output": {got.Output, c.is.Output}, "weights": {got.Weights, c.is.Weights}, "rows": {got.Rows, c.is.Rows}} {
			if pair[1] == 0 {
				require.Less(t, pair[0], 0.001, "%s: %s", name, what)
				continue
			}
			require.InDelta(t, 0, math.Log(pair[0]/pair[1]), math.Log(1.3), "%s: %s: predicted %.3f, measured %.3f", name, what, pair[0], pair[1])
		}
	}
}

// TestPredictsLoss of trainings from a checkpoint, within 0.15 of the gain or a quarter.
func TestPredictsLoss(t *testing.T) {
	for name, c := range map[string]struct {
		way  Way
		lost float64
	}{
		"fp8":                       {Everywhere(quant.FP8), 0.005},
		"nvfp4":                     {Everywhere(quant.NVFP4H), 0.046},
		"mxfp4":                     {Everywhere(quant.MXFP4H), 0.071},
		"clusters once, 256 rows":   {clusters(256, lsh.Config{Refine: 1}), 0.7},
		"clusters, 1024 rows":       {clusters(1024, lsh.Config{}), 0.190},
		"clusters, 4096 rows":       {clusters(4096, lsh.Config{}), 0.042},
		"none, all legs, 1024 rows": {Way{Clusters: Clusters{lsh.Config{Compensation: lsh.None, Refine: 1}, 1024}, ClusterGradients: true}, 0.57},
		"clusters on all legs":      {Way{Clusters: Clusters{lsh.Config{Refine: 1}, 1024}, ClusterGradients: true}, 0.36},
		"paper, 1024 rows":          {Way{Clusters: Clusters{lsh.Config{Compensation: lsh.Identity, Refine: -1}, 1024}, ClusterGradients: true}, 1.5},
	} {
		got := c.way.Lost()
		require.InDelta(t, c.lost, got, max(0.15, c.lost/4), "%s: predicted %.3f", name, got)
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
			require.GreaterOrEqual(t, Clusters{c, rows}.Lost(true), Clusters{c, rows}.Lost(false))
			require.Greater(t, Clusters{c, rows}.Lost(false), Clusters{lsh.Config{Rate: 2 * rate}, rows}.Lost(false))
		}
	}
	require.Positive(t, LostLeg(Combine, quant.NVFP4H))
	for l := range Leg(legs) {
		require.Zero(t, LostLeg(l, quant.Float32))
		require.Less(t, LostLeg(l, quant.BF16), LostLeg(l, quant.FP8))
		require.Less(t, LostLeg(l, quant.FP8), LostLeg(l, quant.NVFP4H))
		require.Less(t, LostLeg(l, quant.NVFP4H), LostLeg(l, quant.MXFP4H))
	}
	all := 0.0
	for l := range Leg(legs) {
		all += LostLeg(l, quant.NVFP4H)
	}
	require.InDelta(t, Everywhere(quant.NVFP4H).Lost(), all, 1e-12, "lost shares add up")
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
			w := clusters(n, c)
			w.Legs[Dispatch], w.Legs[Combine] = quant.BF16, quant.BF16
			require.LessOrEqual(t, w.Lost(), lost)
			w.Clusters.Rows--
			require.Greater(t, w.Lost(), lost)
		}
	}
	_, ok := RowsFor(lsh.Config{Compensation: lsh.Identity, Refine: -1}, 1e-9)
	require.False(t, ok)
	n, ok := RowsFor(lsh.Config{Rate: 1}, 0.1)
	require.True(t, ok)
	require.Equal(t, 1, n)
}
