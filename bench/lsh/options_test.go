package lsh

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-variants", "paper"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, o.variants, 3, "and the two that it is measured by")
	_, err = parseOptions([]string{"-variants", "paper,papier", "-rates", "0", "-seeds", "0"}, io.Discard)
	for _, name := range []string{`"papier"`, `-rates "0"`, "-seeds 0"} {
		require.ErrorContains(t, err, name)
	}
	_, err = parseOptions([]string{"-variants", "nvfp4,paper,nvfp4"}, io.Discard)
	require.EqualError(t, err, `-variants nvfp4,paper,nvfp4: "nvfp4" is there twice`)
	_, err = parseOptions([]string{"-task", "x"}, io.Discard)
	require.EqualError(t, err, `-task "x": want lm, finetune, mlm or errors`)
}

// TestTextDigest is that of a file, or of a folder's Go files, and changes with them alone.
func TestTextDigest(t *testing.T) {
	digest := func(path string) string {
		d, err := textDigest(path)
		require.NoError(t, err)
		return d
	}
	require.Empty(t, digest(""), "the default text")
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	write("a.go", "package a")
	write("b.go", "package b")
	all, one := digest(dir), digest(filepath.Join(dir, "a.go"))
	write("c.txt", "text")
	require.Equal(t, all, digest(dir))
	require.NotEqual(t, all, one)
	write("b.go", "package c")
	require.NotEqual(t, all, digest(dir))
	require.Equal(t, one, digest(filepath.Join(dir, "a.go")))
	_, err := textDigest(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NotEqual(t, key(nil, "", all), key(nil, "", one))
}

// TestSettingsOfTasks are what a task has unless flags say otherwise.
func TestSettingsOfTasks(t *testing.T) {
	for line, want := range map[string][3]int{ // rows, steps before, steps
		"": {0, 0, 300}, "-rows 1024": {1024, 0, 200}, "-task finetune": {1024, 300, 100}, "-task finetune -rows 4096": {4096, 300, 60},
		"-task mlm": {1024, 0, 250}, "-task mlm -base-steps 200": {1024, 200, 100}, "-task finetune -steps 7 -base-steps 8": {1024, 8, 7},
	} {
		o, err := parseOptions(strings.Fields(line), io.Discard)
		require.NoError(t, err, line)
		require.Equal(t, want, [3]int{o.groupRows, o.baseSteps, o.steps}, line)
	}
	o, err := parseOptions([]string{"-variants", "nvfp4×1.25"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 1.25, o.variants[2].times)
	o, err = parseOptions([]string{"-task", finetuneTask, "-rows", "4096", "-text", "x", "-eval-batches", "3"}, io.Discard)
	require.NoError(t, err)
	flags := strings.Join(o.groupFlags(variant{}, o.tuning(60), 2), " ")
	require.Contains(t, flags, "-batch 256 -lr 0.001 -warmup 10 -steps 60 -seed 2")
	require.Contains(t, flags, "-text x -eval-batches 3")
	require.Contains(t, strings.Join(o.groupFlags(variant{}, o.base(), 2), " "), "-batch 64 -lr 0.002 -warmup 30 -steps 300")
}
