package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/svgtest"
)

// TestPicturesAreReadable in any of the fonts that a reader may have.
func TestPicturesAreReadable(t *testing.T) {
	dir := t.TempDir()
	svg := filepath.Join(dir, "x.svg")
	check := func(name string) {
		t.Helper()
		text, err := os.ReadFile(svg)
		require.NoError(t, err)
		svgtest.Readable(t, text, name)
	}
	for _, args := range [][]string{
		{"algorithms", "-svg", svg},
		{"collisions", "-seeds", "1", "-dim", "16", "-svg", svg},
		{"sim", "-svg", svg},
		{"sim", "-shared", "1", "-micro", "2", "-nodes", "4", "-per-node", "2", "-svg", svg},
		{"sim", "-scale", "64,128,256,512,1024,2048,4096", "-layers", "2", "-steps", "1", "-svg", svg},
		{"sim", "-scale", "16,32", "-layers", "2", "-steps", "1", "-policy", "ours", "-svg", svg},
	} {
		var stdout, stderr bytes.Buffer
		require.Zero(t, run(t.Context(), args, &stdout, &stderr), stderr.String())
		check(args[0])
	}
	require.NoError(t, drawLoads(svg, []trained{
		{Router: "topk", ExpertLoad: [][]int{{4, 3, 2, 1, 0, 1, 2, 3}, {1, 1, 1, 1, 1, 1, 1, 9}}},
		{Router: "expert-choice-global-with-a-long-name", ExpertLoad: [][]int{{1000, 1}}},
		{Router: "mola", ExpertLoad: [][]int{{1, 2}, {1, 2, 3, 4, 5, 6, 7, 8}}},
	}))
	check("loads")
	var rows []lshRow
	for i, v := range lshVariants() {
		rows = append(rows, lshRow{Variant: v.name, Link: 400, Speedup: 1 + float64(i)/10}, lshRow{Variant: v.name, Link: 100_000, Speedup: 2 + float64(i)/10})
	}
	require.NoError(t, drawSpeedups(svg, rows))
	check("speedups")
	require.NoError(t, drawSpeedups(svg, rows[:2]))
	check("one speedup")
}
