package main

import (
	"bytes"
	"context"
	"strings"
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

// TestMomentBytes of the optimizers.
func TestMomentBytes(t *testing.T) {
	const n = 1 << 20
	for line, each := range map[string]float64{
		"": 8, "-moments fp8": 2.08, "-moments int4": 1.07, "-optimizer sgd": 4, "-optimizer sgd -momentum 0": 0,
		"-optimizer sgd -moments fp8": 1.04,
	} {
		o, err := parse(strings.Fields(line), new(bytes.Buffer))
		require.NoError(t, err)
		require.InDelta(t, each*n, o.momentBytes(n), 0.01*n, line)
	}
}
