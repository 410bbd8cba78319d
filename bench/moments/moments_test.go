package moments

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
)

// TestShort trains each kind of moments for two steps.
func TestShort(t *testing.T) {
	if testing.Short() {
		t.Skip("it trains")
	}
	file := filepath.Join(t.TempDir(), "rows.json")
	var stdout, stderr bytes.Buffer
	require.Zero(t, Run(context.Background(), []string{"-short", "-json", file}, &stdout, &stderr), stderr.String())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	require.Len(t, lines, 3)
	for i, most := range []float64{8, 2.5, 1.5} { // tensors of the small model end in short blocks
		var r row
		require.NoError(t, json.Unmarshal([]byte(lines[i]), &r))
		require.Contains(t, stdout.String(), r.Moments)
		require.LessOrEqual(t, r.Bytes, most)
		require.Greater(t, r.Bytes, most/1.6)
		require.Equal(t, i == 0, r.Difference == 0)
	}
}

func TestSummary(t *testing.T) {
	rows := summary([]run{
		{Moments: "float32", Seed: 1, ValLoss: 2, Parameters: 10, MomentBytes: 80}, {Moments: "fp8", Seed: 1, ValLoss: 2.02, Parameters: 10, MomentBytes: 21},
		{Moments: "float32", Seed: 2, ValLoss: 4, Parameters: 10, MomentBytes: 80}, {Moments: "fp8", Seed: 2, ValLoss: 4, Parameters: 10, MomentBytes: 21},
	})
	require.Len(t, rows, 2)
	require.InDelta(t, 2.1, rows[1].Bytes, 1e-9)
	require.InDelta(t, 3.01, rows[1].Loss, 1e-9)
	require.InDelta(t, 0.5, rows[1].Difference, 1e-9)
	require.InDelta(t, 1, rows[1].Worst, 1e-9)
}

func TestOptions(t *testing.T) {
	_, err := parse([]string{"-seeds", "0", "-batch", "12"}, io.Discard)
	require.ErrorContains(t, err, "-seeds 0: want at least 1")
	require.ErrorContains(t, err, "-batch 12: want a multiple of 8")
}
