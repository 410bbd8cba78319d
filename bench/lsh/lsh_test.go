package lsh

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
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
	for _, bad := range [][]string{{"-rates", "x"}, {"-steps", "-1"}, {"-variants", "magic"}, {"-quality-batch", "0"}, {"-task", "magic"}, {"-rows", "300"}, {"-variants", "fp8×2"}, {"-task", "lm", "-base-steps", "9"}, {"-no-speed", "-no-quality"}, {"-no-speed", "-svg", "x.svg"}, {"x"}} {
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

// TestTasks trains with each task, and goes on where it was cut off.
func TestTasks(t *testing.T) {
	program := benchtest.Trainer(t)
	for _, line := range []string{
		"-task lm", "-task lm -rows 256", "-task finetune -variants clusters", "-task mlm -variants nvfp4", "-task mlm -base-steps 2 -variants nvfp4",
	} {
		cache := filepath.Join(t.TempDir(), "cache")
		o, err := parseOptions(append(strings.Fields(line), "-short", "-no-speed", "-cache", cache, "-json", cache+".json"), io.Discard)
		require.NoError(t, err)
		rows, err := o.measureWith(t.Context(), program, t.TempDir(), io.Discard)
		require.NoError(t, err, line)
		require.Len(t, rows, 6, "of three variants, each with one seed, and in the mean")
		for _, r := range rows {
			require.Equal(t, o.task, r.Task)
			require.Positive(t, r.Loss, "%v", r)
			require.Positive(t, r.LossTrained, "%v", r)
			require.Equal(t, o.baseSteps > 0 && r.Variant != noExpertsName, r.LossStart > 0)
		}
		written, err := readRows(cache + ".json")
		require.NoError(t, err)
		require.Equal(t, rows, written, "after the last training")
		again, err := o.measureWith(t.Context(), "no program", t.TempDir(), io.Discard)
		require.NoError(t, err, "all is in the folder")
		require.Equal(t, rows, again)
	}
}

// TestTasksShareAFolder: where training from the start has had the flags of a checkpoint, the
// checkpoint is made all the same.
func TestTasksShareAFolder(t *testing.T) {
	program := benchtest.Trainer(t)
	cache := t.TempDir()
	for _, line := range []string{"-task lm -rows 1024", "-task finetune"} {
		o, err := parseOptions(append(strings.Fields(line), "-short", "-no-speed", "-cache", cache), io.Discard)
		require.NoError(t, err)
		_, err = o.measureWith(t.Context(), program, t.TempDir(), io.Discard)
		require.NoError(t, err, line)
	}
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
