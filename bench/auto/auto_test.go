package auto

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

func TestOptions(t *testing.T) {
	_, err := parseOptions([]string{"-rounds", "0", "-tokens", "0", "-dim", "0", "-hidden", "0", "-budget", "0", "-rates", "1,x"}, io.Discard)
	for _, says := range []string{"-rounds 0", "-tokens 0", "-dim 0", "-hidden 0", "-budget 0", `-rates "x"`} {
		require.ErrorContains(t, err, says)
	}
	require.Equal(t, harness.Misused, Run(context.Background(), []string{"-rounds", "x"}, io.Discard, io.Discard))
}

// TestTheBestByHand is the shortest step that the budget allows.
func TestTheBestByHand(t *testing.T) {
	o := options{budget: 0.1}
	rows := []row{{Step: 9}, {Step: 5, Lost: 0.05}, {Step: 1, Lost: 0.2}, {Step: 6}}
	o.compare(rows)
	require.InDelta(t, 1.2, rows[3].Regret, 1e-12)
}

// TestShort measures everything once.
func TestShort(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auto.json")
	var stdout, stderr bytes.Buffer
	require.Zero(t, Run(context.Background(), []string{"-short", "-json", file}, &stdout, &stderr), stderr.String())
	require.Regexp(t, `(?m)^2000 +nvfp4-h +float32 +[0-9.]+ +0\.\d+$`, stdout.String())
	require.Regexp(t, `2000 Mbit/s: between nodes: .*; its step is [0-9.]+ × the best by hand`, stdout.String())
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	require.Len(t, lines, 14)
	var last row
	require.NoError(t, json.Unmarshal([]byte(lines[13]), &last))
	require.NotEmpty(t, last.Choice)
	require.Positive(t, last.Regret)
}
