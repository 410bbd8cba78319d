package sums

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// TestShort trains two steps in each format, and behind links; a second time it takes what is
// there.
func TestShort(t *testing.T) {
	file, runs := filepath.Join(t.TempDir(), "rows.json"), filepath.Join(t.TempDir(), "runs")
	args := []string{"-short", "-formats", "int4", "-link", "500", "-json", file, "-runs", runs}
	code, table, said := benchtest.Call(t, Run, args...)
	require.Zero(t, code, said)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var rows []row
	for line := range strings.Lines(string(text)) {
		var r row
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		require.Contains(t, table, r.Sums)
		require.Positive(t, r.StepMS)
		require.Equal(t, 500, r.Link)
		rows = append(rows, r)
	}
	require.Len(t, rows, 2)
	require.Equal(t, "float32", rows[0].Sums)
	require.Zero(t, rows[0].Difference)
	require.Equal(t, 1., rows[0].Ratio)
	require.Equal(t, "int4", rows[1].Sums)
	require.NotZero(t, rows[1].Difference)
	require.Less(t, rows[1].Ratio, 0.6) // of sets that are tiny
	code, again, said := benchtest.Call(t, Run, args...)
	require.Zero(t, code, said)
	require.Equal(t, table, again)
	err = options{}.trainOnce(t.Context(), "", filepath.Join(runs, "int4-1-batch-8-short.json"), &run{Format: "int4", Seed: 1, Steps: 3})
	require.ErrorContains(t, err, "it is of 2 steps of seed 1, want 3 of 1")
}

// TestFilesTellFlags: runs with other flags are not taken for one another.
func TestFilesTellFlags(t *testing.T) {
	r := run{Format: "fp8", Seed: 3}
	require.Equal(t, "fp8-3.json", options{batch: usualBatch}.file(r))
	require.Equal(t, "fp8-3-batch-16.json", options{batch: 16}.file(r))
	r.Link = 7
	require.Equal(t, "fp8-link-7-batch-8-short.json", options{batch: 8, short: true}.file(r))
}

func TestSummary(t *testing.T) {
	rows := summary([]run{
		{Format: "float32", Seed: 1, Steps: 9, ValLoss: 2, SumBytes: 800}, {Format: "fp8", Seed: 1, Steps: 9, ValLoss: 2.02, SumBytes: 200},
		{Format: "float32", Seed: 2, Steps: 9, ValLoss: 4, SumBytes: 800}, {Format: "fp8", Seed: 2, Steps: 9, ValLoss: 3.98, SumBytes: 200},
		{Format: "float32", Link: 7, Seed: 1, StepMS: 90, SumBytes: 800}, {Format: "fp8", Link: 7, Seed: 1, StepMS: 60, SumBytes: 200},
		{Format: "int4", Link: 9, Seed: 1, StepMS: 60, SumBytes: 100},
	})
	require.Len(t, rows, 2, "of int4 there is nothing to compare")
	require.Equal(t, 0.25, rows[1].Ratio)
	require.InDelta(t, 3, rows[1].Loss, 1e-9)
	require.InDelta(t, 0.25, rows[1].Difference, 1e-9)
	require.InDelta(t, 1, rows[1].Worst, 1e-9)
	require.InDelta(t, 1.5, rows[1].Speedup, 1e-9)
	require.Equal(t, 2, rows[1].Seeds)
}

func TestOptions(t *testing.T) {
	_, err := parse([]string{"-seeds", "0", "-batch", "12", "-link", "-1", "-formats", "fp9"}, io.Discard)
	for _, text := range []string{"-seeds 0: want at least 1", "-batch 12: want a multiple of 8", "-link -1: want at least 0", `-formats "fp9": want one or more of float32,`} {
		require.ErrorContains(t, err, text)
	}
	o, err := parse([]string{"-formats", "int8,float32"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"float32", "int8"}, o.formats)
	code, _, said := benchtest.Call(t, Run, "-steps", "x")
	require.Equal(t, harness.Misused, code)
	require.NotEmpty(t, said)
}
