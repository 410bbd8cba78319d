package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/checkpoint"
)

// essence is what of a result does not depend on how and where the job ran.
func essence(r result) result {
	r.Ranks, r.Transport, r.WireBytes, r.SumBytes, r.TokensPerSecond, r.StepMS, r.ExchangeShare = 0, "", 0, 0, 0, 0, 0
	r.Parameters, r.MomentBytes = 0, 0
	course := r.Course
	r.Course = nil
	for _, l := range course {
		r.Course = append(r.Course, look{Step: l.Step, Loss: l.Loss})
	}
	return r
}

// stopped trains on 4 ranks to a step, and returns the folder with its checkpoint.
func stopped(t *testing.T, step int, flags ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "checkpoints")
	trainTiny(t, concat(flags, "-ranks", "4", "-stop-after", fmt.Sprint(step), "-save", dir)...)
	return dir
}

func concat(flags []string, more ...string) []string {
	return append(flags[:len(flags):len(flags)], more...)
}

// TestResumeGivesTheSameResult: a job that stops and goes on, on any number of ranks, ends with all
// that one tells that never stopped.
func TestResumeGivesTheSameResult(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	lines, ranks := []string{
		"-micro 2 -moments int4 -clip 0.1", "-router several -optimizer sgd -moments fp8", "", "-clip 0.1", "-router sigmoid-bias -micro 2 -overlap 2",
	}, []int{1, 3, 8, 2, 4}
	if testing.Short() {
		lines, ranks = lines[:2], ranks[:3]
	}
	for _, line := range lines {
		flags := append(strings.Fields(line), "-text", text, "-steps", "7")
		_, want := trainTiny(t, concat(flags, "-ranks", "4")...)
		dir := stopped(t, 3, flags...)
		for _, n := range ranks {
			out, got := trainTiny(t, concat(flags, "-resume", dir, "-ranks", fmt.Sprint(n))...)
			require.Contains(t, out, "resumed after step 3 from "+dir)
			require.Equal(t, essence(want), essence(got), "%s, %d ranks", line, n)
		}
	}
}

// TestEveryRouterResumes on another number of ranks.
func TestEveryRouterResumes(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	for _, name := range someRouters() {
		flags := []string{"-router", name, "-text", text, "-steps", "4"}
		_, want := trainTiny(t, concat(flags, "-ranks", "1")...)
		_, got := trainTiny(t, concat(flags, "-ranks", "3", "-resume", stopped(t, 2, flags...))...)
		require.Equal(t, essence(want), essence(got), name)
	}
}

// TestCompressionResumes on the same number of ranks.
func TestCompressionResumes(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	lines := []string{"-compensation learned-gain -compress-anneal 0.8 -compress-max-error 0.01", "-hash random", "", "-compress-from 1 -compress-until 3", "-micro 2"}
	if testing.Short() {
		lines = lines[:2]
	}
	for _, line := range lines {
		flags := append(strings.Fields(line), "-compress", "0.4", "-text", text, "-steps", "5")
		_, want := trainTiny(t, concat(flags, "-ranks", "4")...)
		_, got := trainTiny(t, concat(flags, "-ranks", "4", "-resume", stopped(t, 2, flags...))...)
		require.Equal(t, essence(want), essence(got), line)
		require.Equal(t, want.WireBytes, got.WireBytes, line)
	}
}

// TestResumeOverEachTransport: processes go on with what goroutines have saved.
func TestResumeOverEachTransport(t *testing.T) {
	clearLauncher(t)
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Setenv(asProgram, "1")
	flags := []string{"-text", short(t), "-steps", "5"}
	_, want := trainTiny(t, concat(flags, "-ranks", "1")...)
	dir := stopped(t, 2, flags...)
	for _, line := range transported() {
		_, got := trainTiny(t, concat(concat(flags, strings.Fields(line)...), "-ranks", "3", "-resume", dir)...)
		require.Equal(t, essence(want), essence(got), line)
	}
}

// TestResumeOfAFinishedRun trains no more, and tells the same.
func TestResumeOfAFinishedRun(t *testing.T) {
	clearLauncher(t)
	dir := t.TempDir()
	flags := []string{"-text", short(t), "-save", dir, "-resume", dir}
	out, want := trainTiny(t, concat(flags, "-ranks", "2")...)
	require.Contains(t, out, "no checkpoint in "+dir+": training starts from the beginning")
	path := filepath.Join(t.TempDir(), "trace.json")
	out, got := trainTiny(t, concat(flags, "-ranks", "3", "-trace", path)...)
	require.Contains(t, out, "resumed after step 3")
	require.NotContains(t, out, "step 3/3")
	require.Contains(t, out, "no trace, as no step was left to take")
	require.NoFileExists(t, path)
	require.Equal(t, essence(want), essence(got))
	require.Equal(t, want.WireBytes, got.WireBytes, "of the steps that were taken")
}

// TestResumeWithoutACheckpoint starts from the beginning.
func TestResumeWithoutACheckpoint(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	_, want := trainTiny(t, "-ranks", "2", "-text", text)
	missing := filepath.Join(t.TempDir(), "missing")
	out, got := trainTiny(t, "-ranks", "2", "-text", text, "-resume", missing)
	require.Contains(t, out, "no checkpoint in "+missing)
	require.Equal(t, essence(want), essence(got))
	require.NoDirExists(t, missing)
}

// TestResumeWithOtherFlagsIsRefused: the error names each flag that decides on the result, and both
// values.
func TestResumeWithOtherFlagsIsRefused(t *testing.T) {
	clearLauncher(t)
	dir, text := t.TempDir(), short(t)
	trainTiny(t, "-ranks", "2", "-text", text, "-save", dir)
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, generate(2, 3000), 0o600))
	for _, c := range []struct {
		args []string
		says []string
	}{
		{[]string{"-seed", "2", "-dim", "16"}, []string{"-seed was 1 and is 2", "-dim was 8 and is 16"}},
		{[]string{"-steps", "2"}, []string{"-steps was 3 and is 2", "it has taken 3"}},
		{[]string{"-optimizer", "sgd"}, []string{"-optimizer was adamw and is sgd"}},
		{[]string{"-moments", "fp8"}, []string{"-moments was float32 and is fp8"}},
		{[]string{"-no-experts"}, []string{"-no-experts was false and is true"}},
		{[]string{"-text", other}, []string{"-text was sha256:"}},
	} {
		var stdout, stderr bytes.Buffer
		args := tiny(concat([]string{"-ranks", "2", "-text", text, "-resume", dir}, c.args...)...)
		require.Equal(t, failedCode, run(context.Background(), args, &stdout, &stderr), c.args)
		for _, s := range c.says {
			require.Contains(t, stderr.String(), s)
		}
		require.NotContains(t, stderr.String(), "-ranks was")
	}
}

// TestFlagsOfOtherVersions: a flag that the run that saved did not know had its default there, and
// one that this program does not know is a fault.
func TestFlagsOfOtherVersions(t *testing.T) {
	o, err := parse([]string{"-clip", "2", "-overlap", "4"}, new(bytes.Buffer))
	require.NoError(t, err)
	tr := &trainer{options: o, textDigest: "ab"}
	saved := tr.settled()
	require.Equal(t, "sha256:ab", saved["text"])
	require.NotContains(t, saved, "overlap")
	require.NoError(t, tr.fits(checkpoint.Info{Metadata: saved}))
	delete(saved, "seed")
	require.NoError(t, tr.fits(checkpoint.Info{Metadata: saved}))
	delete(saved, "clip")
	saved["depth"] = "3"
	require.ErrorContains(t, tr.fits(checkpoint.Info{Metadata: saved}), "-clip was 0 and is 2; -depth was 3 and is unknown")
}

// TestSaveKeepsToItsRun: a folder that has checkpoints is for the run that goes on with them.
func TestSaveKeepsToItsRun(t *testing.T) {
	clearLauncher(t)
	dir, text := t.TempDir(), short(t)
	trainTiny(t, "-ranks", "1", "-text", text, "-save", dir, "-save-every", "1", "-keep", "2")
	list, err := checkpoint.List(dir)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, []int{2, 3}, []int{list[0].Step, list[1].Step})
	for _, resume := range [][]string{nil, {"-resume", t.TempDir()}} {
		var stdout, stderr bytes.Buffer
		args := tiny(concat([]string{"-ranks", "1", "-text", text, "-save", dir}, resume...)...)
		require.Equal(t, failedCode, run(context.Background(), args, &stdout, &stderr))
		require.Contains(t, stderr.String(), "-save "+dir+": it has a checkpoint, step-00000003")
	}
}

// TestFailedSave is told, and training goes on; if it is the last one the job fails, with its
// results written.
func TestFailedSave(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	_, want := trainTiny(t, "-ranks", "2", "-text", text)
	for step, code := range map[int]int{2: 0, 3: failedCode} {
		dir, path := t.TempDir(), filepath.Join(t.TempDir(), "result.json")
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("step-%08d", step)), nil, 0o600), "in the way")
		var stdout, stderr bytes.Buffer
		args := tiny("-ranks", "2", "-text", text, "-save", dir, "-save-every", "1", "-json", path)
		require.Equal(t, code, run(context.Background(), args, &stdout, &stderr))
		require.Equal(t, step == 2, strings.Contains(stdout.String(), "not saved: "), stdout.String())
		require.Equal(t, step == 3, strings.Contains(stderr.String(), "could not be written"), stderr.String())
		require.Equal(t, essence(want), essence(readResult(t, path)))
		last, err := checkpoint.Latest(dir)
		require.NoError(t, err)
		require.Equal(t, 5-step, last.Step)
	}
}
