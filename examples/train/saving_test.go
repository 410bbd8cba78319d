package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/switchyardtest"
	"github.com/switchyard-moe/switchyard/transport"
)

// savingJob is the job of a lone rank that has trained some steps and saves into dir.
func savingJob(t *testing.T, dir string, done int, more ...string) (*job, *bytes.Buffer) {
	t.Helper()
	o, err := parse(tiny(concat([]string{"-ranks", "1", "-save", dir}, more...)...), new(bytes.Buffer))
	require.NoError(t, err)
	tr, err := newTrainer(t.Context(), switchyardtest.Worlds(t, 1)[0], o, generate(1, 3000))
	require.NoError(t, err)
	out := new(bytes.Buffer)
	j := &job{trainer: tr, out: out, view: newProgress(quiet, o.last()), course: newCourse(o.steps)}
	j.course.done = done
	require.NoError(t, j.openSaver())
	t.Cleanup(func() { _ = j.closeSaver() })
	return j, out
}

// TestRefusedSave: a save that cannot begin, as another job has saved a later step into the folder,
// is no save: training goes on, but neither does the job say that it has saved nor end well.
func TestRefusedSave(t *testing.T) {
	clearLauncher(t)
	dir := t.TempDir()
	trainTiny(t, "-ranks", "1", "-text", short(t), "-save", dir)
	for asked, done := range map[bool]int{true: 1, false: 2} {
		j, out := savingJob(t, dir, done, "-stop-after", "2")
		err := j.keep(t.Context(), asked)
		require.Contains(t, out.String(), "not saved: checkpoint: Save: step ")
		if !asked {
			require.NoError(t, err)
			err = j.closeSaver()
		}
		require.ErrorContains(t, err, "is before step 3")
		require.NotErrorIs(t, err, errSaved)
		require.NoError(t, j.closeSaver(), "the error comes once")
	}
}

// TestInterruptedSave is no failed one: the job is over.
func TestInterruptedSave(t *testing.T) {
	clearLauncher(t)
	j, out := savingJob(t, t.TempDir(), 1, "-hidden", "20000", "-save-limit", "1", "-save-every", "1")
	require.NoError(t, j.keep(t.Context(), false))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	j.course.done = 2
	require.ErrorIs(t, j.keep(ctx, false), context.Canceled)
	require.Empty(t, out.String())
}

// TestWhoAsksToEndDoesNotWait for a limit of the rate: not of the save that is being written, and
// not of the last one.
func TestWhoAsksToEndDoesNotWait(t *testing.T) {
	clearLauncher(t)
	dir := t.TempDir()
	j, out := savingJob(t, dir, 1, "-hidden", "60000", "-save-limit", "1", "-save-every", "1")
	start := time.Now()
	require.NoError(t, j.keep(t.Context(), false))
	j.course.done = 2
	require.ErrorIs(t, j.keep(t.Context(), true), errSaved)
	require.Less(t, time.Since(start), 20*time.Second, "at 1 MB/s, 50 MB take 50 s")
	require.Equal(t, fmt.Sprintf("asked to end: saved after step 2 in %s; -resume %[1]s goes on\n", dir), out.String())
	list, err := checkpoint.List(dir)
	require.NoError(t, err)
	require.Len(t, list, 2)
}

// TestOneFolderOfTwoNames is one.
func TestOneFolderOfTwoNames(t *testing.T) {
	clearLauncher(t)
	dir := filepath.Join(t.TempDir(), "checkpoints")
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	flags := []string{"-ranks", "1", "-text", short(t), "-save", dir, "-resume", link}
	out, _ := trainTiny(t, flags...)
	require.Contains(t, out, "no checkpoint in "+link)
	out, _ = trainTiny(t, flags...)
	require.Contains(t, out, "resumed after step 3 from "+link)
}

// TestErrorsHaveTheirRank, and a line each; one that wraps two keeps its text.
func TestErrorsHaveTheirRank(t *testing.T) {
	one, two := errors.New("one"), fmt.Errorf("%w of %w", errors.New("two"), errors.New("three"))
	err := errors.Join(failure{0, errors.Join(one, two)}, failure{transport.Rank(1), one})
	var stderr strings.Builder
	complain(&stderr, err)
	require.Equal(t, "train: rank 0: one\ntrain: rank 0: two of three\ntrain: rank 1: one\n", stderr.String())
}

// TestSaveLocal: where each host has a folder of its own, the index says which files are where.
func TestSaveLocal(t *testing.T) {
	clearLauncher(t)
	dir := filepath.Join(t.TempDir(), "checkpoints")
	flags := []string{"-text", short(t), "-save", dir, "-save-local", "-resume", dir}
	_, want := trainTiny(t, "-text", flags[1], "-ranks", "1")
	trainTiny(t, concat(flags, "-ranks", "3", "-stop-after", "2")...)
	index, err := os.ReadFile(filepath.Join(dir, "step-00000002", "model.safetensors.index.json"))
	require.NoError(t, err)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Contains(t, string(index), fmt.Sprintf("%q", host+":"+filepath.Join(dir, "step-00000002")))
	out, got := trainTiny(t, concat(flags, "-ranks", "2")...)
	require.Contains(t, out, "resumed after step 2")
	require.Equal(t, want.ParamSHA256, got.ParamSHA256)
}
