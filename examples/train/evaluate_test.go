package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEvaluationIsOfTheModel: without a step, losses of held-out text are those of the initial
// parameters however rows travel in training, and those as trained differ where rows change.
func TestEvaluationIsOfTheModel(t *testing.T) {
	clearLauncher(t)
	still := []string{"-text", short(t), "-lr", "0", "-ranks", "2", "-capacity", "0"}
	_, plain := trainTiny(t, still...)
	require.Equal(t, plain.ValLoss, plain.ValLossTrained)
	for _, more := range [][]string{
		{"-wire", "fp8"}, {"-compress", "0.3", "-compensation", "none"}, {"-wire", "mxfp4-h", "-micro", "2"}, {"-router", "sigmoid-bias", "-wire", "fp8"},
	} {
		out, got := trainTiny(t, concat(still, more...)...)
		require.Contains(t, out, "as trained")
		want := plain
		if more[0] == "-router" {
			_, want = trainTiny(t, concat(still, more[:2]...)...)
		}
		require.Equal(t, want.ValLoss, got.ValLoss, "%v", more)
		require.NotEqual(t, got.ValLoss, got.ValLossTrained, "%v", more)
		require.InDelta(t, got.ValLoss, got.ValLossTrained, 0.1, "%v", more)
	}
	_, half := trainTiny(t, concat(still, "-compress", "1", "-compensation", "none")...)
	require.InDelta(t, half.ValLoss, half.ValLossTrained, 1e-3, "every row is its own cluster")
}

// TestEvaluationFollowsTraining: the layers that evaluate have what the others have learned.
func TestEvaluationFollowsTraining(t *testing.T) {
	clearLauncher(t)
	flags := []string{"-text", short(t), "-ranks", "2", "-compress", "0.5", "-save", filepath.Join(t.TempDir(), "checkpoints")}
	_, got := trainTiny(t, flags...)
	_, want := trainTiny(t, "-text", flags[1], "-ranks", "1", "-lr", "0", "-init", flags[len(flags)-1])
	require.Equal(t, got.ParamSHA256, want.ParamSHA256)
	require.Equal(t, want.ValLoss, got.ValLoss)
	require.Equal(t, got.ValLoss, got.Course[len(got.Course)-1].Loss)
}

// TestEvalBatches are spread over the held-out text.
func TestEvalBatches(t *testing.T) {
	d := &dataset{held: generate(3, 20*7+1), options: testOptions()}
	require.Equal(t, 7, d.evalBatches())
	d.options.evalBatches = 9
	require.Equal(t, 7, d.evalBatches())
	d.options.evalBatches = 2
	require.Equal(t, 2, d.evalBatches())
	first, last := d.heldStarts(0, 2), d.heldStarts(1, 2)
	require.Equal(t, 0, first[0])
	require.Greater(t, last[3], 20*5)
}

// TestTextOfAFolder is its Go files in the order of their paths.
func TestTextOfAFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.go": "3", "a/z.go": "1", "a/y.txt": "-", "a.go": "2", "c/d/e.go": "4"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	text, err := readText(dir)
	require.NoError(t, err)
	require.Equal(t, "1234", string(text))
	_, err = readText(filepath.Join(dir, "a", "none"))
	require.Error(t, err)
	_, err = readText(t.TempDir())
	require.ErrorContains(t, err, "no .go file has text")

	s := new(sharedText)
	text, source, err := s.load(t.Context(), filepath.Join(dir, "b.go"), 1)
	require.NoError(t, err)
	again, _, _ := s.load(t.Context(), "another", 2)
	require.Equal(t, []any{"3", filepath.Join(dir, "b.go"), "3"}, []any{string(text), source, string(again)})
}
