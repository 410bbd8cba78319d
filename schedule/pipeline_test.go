package schedule

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write what the code draws into testdata; read the difference before keeping it")

// TestPipelines compares the graphs of a layer's passes with pictures that were read by eye.
func TestPipelines(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		name string
		Pipeline
	}{
		{"forward, one chunk", Pipeline{Chunks: 1}},
		{"forward, four chunks", Pipeline{Chunks: 4}},
		{"backward, two chunks, weights apart, two collectives in the background", Pipeline{Pass: Backward, Chunks: 2, Background: 2, SplitBackward: true}},
		{"forward, sharded, one chunk", Pipeline{Chunks: 1, Sharded: true}},
		{"forward, sharded, three chunks", Pipeline{Chunks: 3, Sharded: true}},
		{"forward, sharded, three chunks, one stream", Pipeline{Chunks: 3, Sharded: true, OneStream: true}},
		{"backward, sharded, two chunks, weights apart", Pipeline{Pass: Backward, Chunks: 2, SplitBackward: true, Sharded: true}},
	} {
		g := c.Graph()
		require.NoError(t, g.Validate())
		b.WriteString(c.name + "\n\n" + g.String() + "\n")
	}
	const file = "testdata/pipelines.txt"
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), b.String())
}
