package balance

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	alloc "github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-plan-only", "-short", "-load", "hot,lognormal", "-planners", "plain,balanced"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []int{1000}, o.Rates)
	require.Equal(t, []string{"hot", "lognormal"}, o.Loads)
	_, err = parseOptions([]string{"-ranks", "1", "-tokens", "0", "-dim", "0", "-hidden", "0", "-experts", "0", "-k", "0", "-group", "0", "-slots", "-1",
		"-steps", "0", "-gflops", "0", "-rounds", "0", "-rates", "x", "-load", "odd", "-planners", "odd"}, io.Discard)
	for _, name := range []string{"-ranks 1", "-tokens 0", "-dim 0", "-hidden 0", "-experts 0", "-k 0", "-group 0", "-slots -1", "-steps 0", "-gflops 0", "-rounds 0",
		`-rates "x"`, `-load "odd"`, `-planners "odd"`} {
		require.ErrorContains(t, err, name)
	}
}

// TestPlanOnly: all planners under all loads but a trace, in the table and as JSON.
func TestPlanOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.json")
	code, stdout, stderr := benchtest.Call(t, Run, "-plan-only", "-short", "-load", "even,zipf,hot,lognormal", "-json", file)
	require.Zero(t, code, stderr)
	require.Equal(t, 1+4*len(plannerNames()), strings.Count(stdout, "\n"))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for d := json.NewDecoder(bytes.NewReader(text)); d.More(); {
		var r row
		require.NoError(t, d.Decode(&r))
		require.Equal(t, 4, r.Ranks)
		require.Positive(t, r.MS)
		switch {
		case r.Who == "plain", r.Load == "even" && r.Who != "eplb":
			require.Equal(t, 1.0, r.OfPlain, "%+v", r)
			require.Zero(t, r.Copies)
		case r.Who == "balanced":
			require.Less(t, r.After, r.Before, "%+v", r)
			require.Less(t, r.OfPlain, 0.96, "%+v", r)
		}
	}
	code, _, stderr = benchtest.Call(t, Run, "-plan-only", "-short", "-load", "trace", "-trace", "none")
	require.Equal(t, harness.Failed, code)
	require.Contains(t, stderr, "none")
}

// TestOutcome goes from what ranks report to rows.
func TestOutcome(t *testing.T) {
	o := options{Ranks: 2, Tokens: 8, K: 1, Planners: []string{"plain", "balanced"}}
	variants := o.variants("hot")
	require.Equal(t, []variant{{"plain", "even"}, {"plain", "hot"}, {"balanced", "hot"}}, variants)
	reports := make([]report, 2)
	for rank := range reports {
		reports[rank] = report{Rank: rank, Results: []result{{Checked: 9}, {Checked: 5}, {Checked: 5, Stats: alloc.Stats{Copies: 1, Rows: 4, RowsBefore: 2, RowsAfter: 1}}}}
		for i, ms := range []int{100, 300, 150} {
			reports[rank].Results[i].Steps = []time.Duration{time.Duration(ms-rank) * time.Millisecond, time.Duration(ms+rank) * time.Millisecond, time.Hour}
		}
	}
	rows, err := o.collect(1000, "hot", variants, reports)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.InDelta(t, 301, rows[0].MS, 1e-9, "the slowest rank of the median round")
	require.InDelta(t, 151./101, rows[1].OfEven, 1e-9)
	require.InDelta(t, 151./301, rows[1].OfPlain, 1e-9)
	require.InDelta(t, 0.25, rows[1].Moved, 1e-9)
	require.Equal(t, 1.0, rows[0].RatioHigh, "plain to itself")
	of := harness.PairedRatio([]time.Duration{150 * time.Millisecond, 151 * time.Millisecond, time.Hour}, []time.Duration{300 * time.Millisecond, 301 * time.Millisecond, time.Hour})
	require.Equal(t, [2]float64{of.Low, of.High}, [2]float64{rows[1].RatioLow, rows[1].RatioHigh}, "round by round")
	reports[1].Results[2].Checked++
	_, err = o.collect(1000, "hot", variants, reports)
	require.EqualError(t, err, "balanced under the load hot gives other bits than plain under the load hot on rank 1")
}

// TestBits: a number that changes with any bit.
func TestBits(t *testing.T) {
	m := blas32.General{Rows: 2, Cols: 2, Stride: 3, Data: []float32{1, 2, 9, 3, 4}}
	was := bitsOf(m, 0)
	require.NotEqual(t, was, bitsOf(m, 1))
	m.Data[2] = 8
	require.Equal(t, was, bitsOf(m, 0), "what is not of the matrix")
	m.Data[4] = -4
	require.NotEqual(t, was, bitsOf(m, 0))
}

// TestMeasure: real ranks, whose bits agree.
func TestMeasure(t *testing.T) {
	if !benchtest.CanMakeNetworks() || testing.Short() {
		t.Skip("makes network namespaces, within seconds")
	}
	code, stdout, stderr := benchtest.Call(t, Run, "-short", "-ranks", "2", "-load", "hot", "-planners", "plain,moonep,balanced")
	require.Zero(t, code, stderr)
	require.Equal(t, 4, strings.Count(stdout, "\n"))
}
