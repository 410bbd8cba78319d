package alltoall

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestStepsReadAsTheyDid compares the steps of every algorithm on small clusters with a golden
// file.
func TestStepsReadAsTheyDid(t *testing.T) {
	const golden = "testdata/steps.txt"
	var b strings.Builder
	for _, top := range []Topology{Nodes(4, 2), {Node: []int{0, 1, 0, 1, 0}}} {
		for _, a := range Algorithms() {
			fmt.Fprintf(&b, "%s, ranks on nodes %v; a block is from>to\n", a, top.Node)
			for r := range top.Node {
				for s, step := range a.Steps(top, len(top.Node), r) {
					fmt.Fprintf(&b, "  rank %d, step %d:", r, s)
					for _, bundle := range step.Sends {
						fmt.Fprintf(&b, " to %d", bundle.Peer)
						for _, block := range bundle.Blocks {
							fmt.Fprintf(&b, " %d>%d", block.From, block.To)
						}
						b.WriteByte(';')
					}
					b.WriteByte('\n')
				}
			}
			b.WriteByte('\n')
		}
	}
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}
