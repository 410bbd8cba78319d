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
}
