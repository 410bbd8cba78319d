package algorithms

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

func TestTable(t *testing.T) {
	run := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := Run(context.Background(), args, &out, &out)
		return code, out.String()
	}
	code, text := run("-ranks", "64", "-each", "4", "-bytes", "1000")
	require.Zero(t, code, text)
	require.Regexp(t, `16 +direct +1 +3 +12 +0.00 +0.01`, text)
	require.Regexp(t, `64 +rails +2 +3 +15 +0.05 +0.06`, text)
	require.Equal(t, 1+2*len(alltoall.Algorithms()), strings.Count(text, "\n"))
	file := filepath.Join(t.TempDir(), "x.svg")
	code, text = run("-ranks", "64", "-svg", file)
	require.Zero(t, code, text)
	drawn, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(drawn), "three-level")
	code, text = run("-ranks", "16", "-svg", filepath.Join(file, "nowhere.svg"))
	require.Equal(t, harness.Failed, code)
	require.Contains(t, text, "nowhere.svg")
	code, text = run("-h")
	require.Zero(t, code)
	require.Contains(t, text, "usage: go run ./bench algorithms")
	for _, bad := range [][]string{{"-each", "0"}, {"-ranks", "2"}, {"-within-beta", "-1"}, {"-nonsense"}, {"x"}} {
		code, text = run(bad...)
		require.Equal(t, harness.Misused, code)
		require.NotEmpty(t, text)
	}
}

// TestTableInDocs is what the program prints, but for the time that it takes.
func TestTableInDocs(t *testing.T) {
	var out, errs bytes.Buffer
	require.Zero(t, Run(t.Context(), nil, &out, &errs), errs.String())
	page, err := os.ReadFile("../../docs/results-algorithms.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(page), "```\n  ranks    algorithm")
	require.True(t, found)
	table, _, found := strings.Cut("  ranks    algorithm"+rest, "```")
	require.True(t, found)
	require.Equal(t, predictions(out.String()), predictions(table))
}

// predictions are the fields of a table's lines but the last one, a time that was measured.
func predictions(table string) (lines [][]string) {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		lines = append(lines, fields[:len(fields)-1])
	}
	return lines
}
