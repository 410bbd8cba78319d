package lsh

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// known are losses and times of some variants on links of 120 Mbit/s.
func known(t *testing.T, names string, losses map[string]float64, steps map[string]float64) *measured {
	t.Helper()
	o, err := parseOptions([]string{"-variants", names}, io.Discard)
	require.NoError(t, err)
	m := &measured{options: &o}
	for name, loss := range losses {
		m.keep(o.group(), name, 1, outcome{loss: loss, trained: loss})
	}
	for name, ms := range steps {
		m.time(120, name, timing{step: ms, share: 0.5, wire: 10})
	}
	return m
}

// means are the rows in the mean over seeds, by variant.
func means(rows []row) map[string]row {
	of := map[string]row{}
	for _, r := range rows {
		if r.Seed == 0 {
			of[r.Variant] = r
		}
	}
	return of
}

// TestRowsAreKept puts losses and times together: a variant that is not compressed in its last
// quarter takes its time of both.
func TestRowsAreKept(t *testing.T) {
	m := known(t, "paper,paper-until-3/4,paper×1.25,fp8,torch,plain+overlap",
		map[string]float64{plainName: 2, noExpertsName: 3, "paper": 2.5, "paper-until-3/4": 2, "paper×1.25": 1.9, "fp8": 2},
		map[string]float64{plainName: 100, noExpertsName: 90, "paper": 40, "fp8": 50, "torch": 200, "plain+overlap": 80})
	rows := m.rows()
	got := means(rows)
	require.InDelta(t, 0.5, got["paper"].Kept, 1e-9)
	require.InDelta(t, 2.5, got["paper"].Speedup, 1e-9)
	require.InDelta(t, 55, got["paper-until-3/4"].Step, 1e-9, "three quarters of 40 and one of 100")
	require.InDelta(t, 100./55, got["paper-until-3/4"].TimeToLoss, 1e-9)
	require.InDelta(t, 2, got["paper×1.25"].TimeToLoss, 1e-9)
	require.InDelta(t, 2, got["fp8"].TimeToLoss, 1e-9)
	require.InDelta(t, 0.5, got["torch"].Speedup, 1e-9)
	require.Zero(t, got["torch"].Kept)
	require.InDelta(t, 1.25, got["plain+overlap"].TimeToLoss, 1e-9, "its losses are those without")
	require.InDelta(t, 0.5, got[plainName].Share, 1e-9)
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

// TestTimeToLoss is along the line between the losses of as many steps and of more.
func TestTimeToLoss(t *testing.T) {
	m := known(t, "fp8,fp8×1.2,fp8×1.5,fp8+overlap", map[string]float64{plainName: 2, noExpertsName: 3, "fp8": 2.04, "fp8×1.2": 2.01, "fp8×1.5": 1.98},
		map[string]float64{plainName: 260, "fp8": 100, "fp8+overlap": 50})
	got := means(m.rows())
	require.InDelta(t, 2, got["fp8"].TimeToLoss, 1e-9, "2.6 times as fast, at 1.3 times the steps")
	require.InDelta(t, 4, got["fp8+overlap"].TimeToLoss, 1e-9)
	require.Zero(t, got["fp8×1.2"].TimeToLoss)
	require.InDelta(t, 2.6/1.5, got["fp8×1.5"].TimeToLoss, 1e-9)
	require.InDelta(t, 1, got[plainName].TimeToLoss, 1e-9)
}

// TestSeedsAndFiles: figures are of each seed, then their means with standard errors; losses and
// times may come from files of their own.
func TestSeedsAndFiles(t *testing.T) {
	o, err := parseOptions([]string{"-task", finetuneTask, "-variants", "nvfp4"}, io.Discard)
	require.NoError(t, err)
	m := &measured{options: &o}
	for seed, loss := range map[int]float64{1: 1.75, 2: 1.65} {
		m.keep(o.group(), plainName, seed, outcome{1.6, 1.6, 2, 1})
		m.keep(o.group(), noExpertsName, seed, outcome{2.1, 2.1, 2.2, 1})
		m.keep(o.group(), "nvfp4", seed, outcome{loss, 1.8, 2, 0.148})
	}
	dir := t.TempDir()
	losses, times := filepath.Join(dir, "losses"), filepath.Join(dir, "times")
	require.NoError(t, harness.WriteJSONLines(losses, m.rows()))
	speed := known(t, "nvfp4", nil, map[string]float64{plainName: 100, "nvfp4": 50})
	require.NoError(t, harness.WriteJSONLines(times, speed.rows()))
	rows, err := readAll(losses + "," + times)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, []int{rows[0].Seed, rows[1].Seed})
	got := means(rows)["nvfp4"]
	require.Equal(t, 2, got.Seeds)
	require.Equal(t, []any{finetuneTask, 1024, 0.148}, []any{got.Task, got.Rows, got.BytesRatio})
	require.InDelta(t, 0.75, got.Gain, 1e-9)
	require.InDelta(t, 0.125, got.GainError, 1e-9)
	require.InDelta(t, 0.5, got.GainMatched, 1e-9)
	require.InDelta(t, 0.8, got.Kept, 1e-9)
	require.InDelta(t, 0.1, got.KeptError, 1e-9)
	require.InDelta(t, 2, got.Speedup, 1e-9)
	require.Equal(t, 120, got.Link)
	var table bytes.Buffer
	writeTable(&table, rows)
	require.Contains(t, table.String(), "0.750 ± 0.125")
	require.NoError(t, os.WriteFile(losses, nil, 0o644))
	_, err = readAll(losses)
	require.ErrorContains(t, err, losses+": no line of what -json writes")
}

func TestBytesRatio(t *testing.T) {
	for name, want := range map[string]float64{
		plainName: 1, "bf16": 0.5, "paper": 0.2, "nvfp4": (128./2 + 128./16 + 4) / 512,
		"clusters": (3*0.2*256 + 2*76 + 3) / 2048, "mxfp4-nvfp4": (2*68. + 2*76) / 2048, "mxfp4-stochastic": 68. / 512,
		"clusters-fp8": (3*0.2*132 + 2*76 + 3) / 2048, "clusters-all-legs": 0.1,
	} {
		require.InDelta(t, want, variantOf(row{Variant: name}).bytesRatio(128), 1e-9, name)
	}
	require.Zero(t, variantOf(row{Variant: plainName}).bytesRatio(0))
	for _, v := range variants() {
		require.LessOrEqual(t, v.bytesRatio(256), 1.0, v.name)
	}
}
