package overlap

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/schedule"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-short", "-most", "4"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []overlapCase{{64, 64, 32}}, o.cases())
	require.Equal(t, []int{1, 2, 4}, o.degrees())
	o, err = parseOptions([]string{"-trace", "steps.json", "-micro", "4"}, io.Discard)
	require.NoError(t, err)
	text, err := json.Marshal(o)
	require.NoError(t, err)
	var there options
	t.Setenv("RANK", "3")
	_, err = harness.RankOptions([]string{string(text)}, &there)
	require.NoError(t, err)
	require.Equal(t, o.cases(), there.cases())
	require.Equal(t, o.modes(), there.modes())
	require.Equal(t, "steps.json", there.TraceFile, "ranks keep timelines only for a trace")
	_, err = parseOptions([]string{"-ranks", "1", "-rounds", "0", "-each", "0", "-k", "0", "-most", "65", "-micro", "0", "-rates", "x", "-dims", "0"}, io.Discard)
	for _, name := range []string{"-ranks 1", "-rounds 0", "-each 0", "-k 0", "-most 65", "-micro 0", `-rates "x"`, `-dims "0"`} {
		require.ErrorContains(t, err, name)
	}
}

// TestOutcome goes from what ranks report to rows, their table and a trace.
func TestOutcome(t *testing.T) {
	ms := func(n ...int) (list []time.Duration) {
		for _, v := range n {
			list = append(list, time.Duration(v)*time.Millisecond)
		}
		return list
	}
	o := options{Ranks: 2, K: 2, Most: 2, Micro: 2, Tokens: []int{8}, Dims: []int{4}, Hidden: []int{4}, TraceFile: filepath.Join(t.TempDir(), "trace.json")}
	var out bytes.Buffer
	for rank := range 2 {
		require.NoError(t, json.NewEncoder(&out).Encode(overlapReport{Rank: rank, Results: []overlapResult{{
			Comm: ms(50, 50), Compute: ms(40, 40+rank*10), Steps: [][]time.Duration{ms(100, 100), ms(70, 70+rank), ms(72, 72), ms(80, 80), ms(60, 60), ms(55, 55), ms(50, 50)},
			Predicted: ms(0, 0, 72, 0, 0, 0, 0), Processor: [][]time.Duration{ms(90, 90), ms(80, 90), ms(80, 80), ms(90, 90), ms(90, 90), ms(90, 90), ms(90, 90)},
			Chosen: [][2]int{{1, 1}, {2, 2}, {1, 2}, {1, 1}, {2, 2}, {2, 2}, {2, 1}},
		}}, Lines: []overlapLine{{Begin: time.Now(), Tasks: []schedule.Task{{Op: schedule.Expert}}, Spans: []schedule.Span{{Start: 0, End: 1}}}}}))
	}
	rows, err := o.collect(500, &out)
	require.NoError(t, err)
	require.Len(t, rows, 7)
	require.Equal(t, 2, rows[4].InFlight)
	require.True(t, rows[6].Apart)
	require.InDelta(t, 2, rows[6].Speedup, 1e-9)
	require.InDelta(t, 100./72, rows[2].Speedup, 1e-9)
	require.InDelta(t, 1.44, rows[2].OfBound, 1e-9)
	require.InDelta(t, 72/70.5-1, rows[2].Regret, 1e-9)
	var table bytes.Buffer
	writeTable(&table, rows)
	require.Contains(t, table.String(), "within 5% of the best in 1, at worst 0% slower than one chunk; predicted within 10% in 1; within 1.1 bound and a chunk in 1")
	interval := harness.PairedRatio(ms(72, 72), ms(70, 71))
	require.InDelta(t, interval.Low-1, rows[2].RegretLow, 1e-9)
	require.InDelta(t, interval.High-1, rows[2].RegretHigh, 1e-9)
	require.Zero(t, rows[1].RegretHigh, "of the chosen alone")
	require.Contains(t, table.String(), "interval of the chosen in 1 of 1; where the exchange takes 1.11 times as long as the experts the chosen is 1.39 times as fast")
	table.Reset()
	worse, uneven := rows[2], rows[2]
	worse.RegretLow, uneven.Comm, uneven.Speedup = 0.01, 99, 9
	writeBalanced(&table, []overlapRow{uneven, worse})
	require.Contains(t, table.String(), "in 1 of 2; where the exchange takes 1.11 times as long")
	writeTable(&table, rows)
	require.Contains(t, table.String(), "chosen 1, 2")
	require.InDelta(t, 170, rows[1].Processor, 1e-9, "of both ranks together, between the two rounds")
	require.Contains(t, table.String(), "chosen 2, 2 ‖")
	require.Contains(t, table.String(), "chosen 2, 1 ⫽")
	trace, err := os.ReadFile(o.TraceFile)
	require.NoError(t, err)
	require.True(t, json.Valid(trace))
	_, err = o.collect(500, &out)
	require.ErrorContains(t, err, "report")
}
