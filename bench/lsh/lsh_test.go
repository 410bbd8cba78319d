package lsh

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/svgtest"

	"github.com/stretchr/testify/require"
)

func TestUsage(t *testing.T) {
	run := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := Run(context.Background(), args, &out, &out)
		return code, out.String()
	}
	code, text := run("-h")
	require.Zero(t, code)
	require.Contains(t, text, "interpolate-refined-nodes")
	for _, bad := range [][]string{{"-rates", "x"}, {"-steps", "0"}, {"-variants", "magic"}, {"-quality-batch", "0"}, {"x"}} {
		code, text = run(bad...)
		require.Equal(t, harness.Misused, code, "%v", bad)
		require.NotEmpty(t, text)
	}
	names := map[string]bool{}
	for _, v := range variants() {
		require.False(t, names[v.name], v.name)
		names[v.name] = true
	}
	require.Equal(t, plainName, variants()[0].name)
	require.Equal(t, noExpertsName, variants()[1].name)
}

// TestTimesStepsOnItsNetwork: the ranks of a cluster of namespaces, one or two on a node, meet
// and train.
func TestTimesStepsOnItsNetwork(t *testing.T) {
	if testing.Short() || !benchtest.CanMakeNetworks() {
		t.Skip("starts processes in network namespaces, as root on Linux")
	}
	for _, ranks := range []string{"1", "2"} {
		var out, errs bytes.Buffer
		file := filepath.Join(t.TempDir(), "rows.json")
		args := []string{"-short", "-no-quality", "-rates", "1000", "-variants", plainName, "-node-ranks", ranks, "-json", file}
		require.Zero(t, Run(t.Context(), args, &out, &errs), "%s", &errs)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var plain row
		require.NoError(t, json.NewDecoder(bytes.NewReader(text)).Decode(&plain))
		require.Equal(t, plainName, plain.Variant)
		require.Positive(t, plain.Step)
		require.Positive(t, plain.Share)
	}
}

// TestRowsAreKept puts losses and times together: a variant that is not compressed in its last
// quarter takes its time of both.
func TestRowsAreKept(t *testing.T) {
	o, err := parseOptions([]string{"-variants", "paper,paper-until-3/4,paper×1.25,fp8,torch,plain+overlap"}, &bytes.Buffer{})
	require.NoError(t, err)
	runs := map[string]lshRun{plainName: {StepMS: 100, ExchangeShare: 0.5, WireBytes: 120}, noExpertsName: {StepMS: 90}, "paper": {StepMS: 40}, "fp8": {StepMS: 50}, "torch": {StepMS: 200}, "plain+overlap": {StepMS: 80}}
	losses := map[string]float64{plainName: 2, noExpertsName: 3, "paper": 2.5, "paper-until-3/4": 2, "paper×1.25": 1.9, "fp8": 2}
	got := map[string]row{}
	rows := o.rows(120, runs, losses)
	for _, r := range rows {
		got[r.Variant] = r
	}
	require.InDelta(t, 0.5, got["paper"].Kept, 1e-9)
	require.Zero(t, got["paper"].TimeToLoss)
	require.InDelta(t, 2.5, got["paper"].Speedup, 1e-9)
	require.InDelta(t, 55, got["paper-until-3/4"].Step, 1e-9, "three quarters of 40 and one of 100")
	require.InDelta(t, 100./55, got["paper-until-3/4"].TimeToLoss, 1e-9)
	require.InDelta(t, 2, got["paper×1.25"].TimeToLoss, 1e-9)
	require.InDelta(t, 2, got["fp8"].TimeToLoss, 1e-9)
	require.InDelta(t, 0.5, got["torch"].Speedup, 1e-9)
	require.Zero(t, got["torch"].Kept)
	require.InDelta(t, 1.25, got["plain+overlap"].TimeToLoss, 1e-9, "its losses are those without")
	require.EqualValues(t, 10, got[plainName].Wire)

	dir := t.TempDir()
	file, picture := filepath.Join(dir, "x.json"), filepath.Join(dir, "x.svg")
	require.NoError(t, harness.WriteJSONLines(file, rows))
	var out bytes.Buffer
	require.Zero(t, Run(context.Background(), []string{"-in", file, "-svg", picture}, &out, &out), out.String())
	require.Contains(t, out.String(), "paper-until-3/4")
	drawn, err := os.ReadFile(picture)
	require.NoError(t, err)
	require.Contains(t, string(drawn), "120 Mbit/s")
	require.NoError(t, os.WriteFile(file, []byte("{}\n{"), 0o600))
	require.Equal(t, harness.Failed, Run(context.Background(), []string{"-in", file}, &out, &out))
	require.Error(t, drawSpeedups(picture, []row{{Variant: "x"}}))
}

// TestSpeedupsAreReadable in any of the fonts that a reader may have.
func TestSpeedupsAreReadable(t *testing.T) {
	svg := filepath.Join(t.TempDir(), "x.svg")
	check := func(name string) {
		t.Helper()
		text, err := os.ReadFile(svg)
		require.NoError(t, err)
		svgtest.Readable(t, text, name)
	}
	var rows []row
	for i, v := range variants() {
		rows = append(rows, row{Variant: v.name, Link: 400, Speedup: 1 + float64(i)/10}, row{Variant: v.name, Link: 100_000, Speedup: 2 + float64(i)/10})
	}
	require.NoError(t, drawSpeedups(svg, rows))
	check("speedups")
	require.NoError(t, drawSpeedups(svg, rows[:2]))
	check("one speedup")
}
