package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sumsOf trains a tiny model on four ranks, and returns the result.
func sumsOf(t *testing.T, text, line string) result {
	t.Helper()
	clearLauncher(t)
	path := t.TempDir() + "/result.json"
	args := tiny(append([]string{"-text", text, "-ranks", "4", "-sample", "0", "-eval-every", "0", "-svg", "", "-progress", "none", "-json", path},
		strings.Fields(line)...)...)
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(context.Background(), args, &stdout, &stderr), "%s: %s", line, &stderr)
	return readResult(t, path)
}

// TestSumsInFewBits send less, and have the same bits if gradients are summed in the gaps of links;
// a job that stops and goes on ends with the parameters of one that does not.
func TestSumsInFewBits(t *testing.T) {
	text, dir := short(t), t.TempDir()
	const steps = "-steps 4 -sums fp8 "
	exact, want := sumsOf(t, text, "-steps 4"), sumsOf(t, text, steps)
	require.Less(t, float64(want.SumBytes), 0.6*float64(exact.SumBytes), "of a model whose sets are tiny")
	require.NotEqual(t, exact.ParamSHA256, want.ParamSHA256)
	require.InDelta(t, exact.ValLoss, want.ValLoss, 0.05)
	require.Equal(t, want.ParamSHA256, sumsOf(t, text, steps+"-overlap 2").ParamSHA256)
	require.NotEqual(t, want.ParamSHA256, sumsOf(t, text, steps+"-stop-after 2 -save "+dir).ParamSHA256)
	require.Equal(t, want.ParamSHA256, sumsOf(t, text, steps+"-resume "+dir).ParamSHA256)
	require.NotEqual(t, want.ParamSHA256, sumsOf(t, text, steps+"-ranks 2 -resume "+dir).ParamSHA256)
}
