package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/svgtest"
)

// TestOutputsAreTriedBeforeTraining: a file that cannot be written is named at once, with its flag,
// and nothing is trained.
func TestOutputsAreTriedBeforeTraining(t *testing.T) {
	clearLauncher(t)
	dir := t.TempDir()
	readOnly := filepath.Join(dir, "readonly.svg")
	require.NoError(t, os.WriteFile(readOnly, []byte("kept"), 0o400))
	for _, transport := range []string{"inproc", "tcp"} {
		for _, c := range []struct {
			flag, path, says string
			code             int
		}{
			{"-json", dir, "-json: open " + dir + ": is a directory", failedCode},
			{"-json", filepath.Join(dir, "none", "a.json"), "no such file or directory", failedCode},
			{"-svg", filepath.Join(dir, "none", "a.svg"), "no such file or directory", failedCode},
			{"-svg", readOnly, "is read-only", failedCode},
			{"-svg", filepath.Join(dir, "a.doc"), "want a name that ends in .svg", usageCode},
			{"-trace", "/proc/none/trace", "no such file or directory", failedCode},
		} {
			var stdout, stderr bytes.Buffer
			args := tiny("-transport", transport, "-text", short(t), c.flag, c.path)
			require.Equal(t, c.code, run(context.Background(), args, &stdout, &stderr), c.path)
			require.Contains(t, stderr.String(), "train: "+c.flag)
			require.Contains(t, stderr.String(), c.path)
			require.Contains(t, stderr.String(), c.says)
			require.Empty(t, stdout.String(), "nothing has begun")
		}
	}
	text, err := os.ReadFile(readOnly)
	require.NoError(t, err)
	require.Equal(t, "kept", string(text))
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, list, 1, "tries leave nothing behind")
}

// TestResultsOutliveTheCurve: what keeps the curve from being drawn at the end does not lose the
// results.
func TestResultsOutliveTheCurve(t *testing.T) {
	j := &job{trainer: &trainer{}, out: new(bytes.Buffer)}
	j.world = aloneWorld(t)
	dir := t.TempDir()
	j.options.json, j.options.svg = filepath.Join(dir, "result.json"), filepath.Join(dir, "gone", "loss.svg")
	j.history.addTrain(1, 5)
	j.history.addHeld(1, 5)
	require.ErrorContains(t, j.save(), j.options.svg)
	text, err := os.ReadFile(j.options.json)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &j.result))
}

// TestCurveIsReadable in any of the fonts that a reader may have.
func TestCurveIsReadable(t *testing.T) {
	for _, steps := range []int{1, 3, 400, 100_000} {
		h := history{bigram: 2.5}
		for _, at := range []int{1, (steps + 1) / 2, steps} {
			h.addTrain(at, 5/float64(at))
		}
		h.addHeld(steps, 4)
		path := filepath.Join(t.TempDir(), "loss.svg")
		require.NoError(t, h.draw(path))
		svg, err := os.ReadFile(path)
		require.NoError(t, err)
		svgtest.Readable(t, svg, "loss curve")
	}
}
