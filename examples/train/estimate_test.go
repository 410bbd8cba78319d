package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEstimate of a layer with each router: it is printed, and nothing else is done.
func TestEstimate(t *testing.T) {
	for _, name := range routerNames() {
		var stdout, stderr bytes.Buffer
		require.Zero(t, run(context.Background(), tiny("-estimate", "-router", name), &stdout, &stderr), "%s: %s", name, stderr.String())
		require.Contains(t, stdout.String(), "layer of block 3, 16 tokens a pass on each of 4 ranks", name)
		require.Contains(t, stdout.String(), "balanced pass: ", name)
	}
}
