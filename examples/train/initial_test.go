package main

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInitTakesParameters alone: with a learning rate of 0 they stay what they were, whatever the
// number of ranks, and the steps begin anew.
func TestInitTakesParameters(t *testing.T) {
	clearLauncher(t)
	text, dir := short(t), filepath.Join(t.TempDir(), "checkpoints")
	_, want := trainTiny(t, "-text", text, "-ranks", "2", "-save", dir)
	for _, more := range [][]string{
		{"-ranks", "1"}, {"-ranks", "3", "-seed", "5", "-batch", "16"}, {"-ranks", "1", "-resume", t.TempDir()},
		{"-ranks", "1", "-compress", "0.5"},
	} {
		out, got := trainTiny(t, append([]string{"-text", text, "-lr", "0", "-init", dir}, more...)...)
		require.Contains(t, out, "those after step 3 in "+dir)
		require.Equal(t, want.ParamSHA256, got.ParamSHA256, "%v", more)
		require.Equal(t, 3, got.Steps)
	}
	gains, _ := trainTiny(t, "-text", text, "-lr", "0", "-ranks", "1", "-init", dir, "-compress", "0.5", "-compensation", "learned-gain")
	require.Contains(t, gains, "those after step 3", "the checkpoint has no gains")
	// A fresh optimizer: not what going on gives.
	_, more := trainTiny(t, "-text", text, "-ranks", "1", "-init", dir)
	require.NotEqual(t, want.ParamSHA256, more.ParamSHA256)
	require.Less(t, more.LossFirst, want.LossFirst)
}

// TestInitOfAnotherModel says what differs, and that there is nothing where nothing is.
func TestInitOfAnotherModel(t *testing.T) {
	clearLauncher(t)
	text, dir := short(t), filepath.Join(t.TempDir(), "checkpoints")
	trainTiny(t, "-text", text, "-ranks", "1", "-save", dir)
	fails := func(want string, more ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		require.Equal(t, failedCode, run(context.Background(), tiny(append(more, "-ranks", "1", "-text", text)...), &stdout, &stderr))
		require.Contains(t, stderr.String(), want)
	}
	fails("embedding.token", "-init", dir, "-dim", "16")
	fails("block3.moe", "-init", dir, "-layers", "2")
	fails("block5.moe", "-init", dir, "-layers", "6")
	fails("-init", "-init", t.TempDir())
}
