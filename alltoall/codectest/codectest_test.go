package codectest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/codectest"
)

func losses() map[string]codectest.Loss {
	return map[string]codectest.Loss{
		"float32": {}, "bf16": {Most: 1. / 256}, "fp16": {Most: 1. / 2048},
		"fp8": {Most: 1. / 16}, "int8": {Most: 1. / 250},
		"fp8-expanded": {Most: 1. / 8, Drifts: true},  // the exponent of a block may be another
		"mxfp8":        {Most: 1. / 16, Drifts: true}, // half of the largest code has half the scale
		"mxfp4":        {Most: 1. / 5},                // 5 becomes 4
		"nvfp4":        {Most: 1. / 5, Drifts: true},
		"int4":         {Most: 1. / 13},
		"mxfp4-h":      {Most: 1. / 2, Drifts: true}, // errors of a block add up
		"nvfp4-h":      {Most: 1. / 2, Drifts: true},
		"int4-h":       {Most: 1. / 2, Drifts: true},
	}
}

// TestFormats: every built-in one is a codec.
func TestFormats(t *testing.T) {
	for _, name := range alltoall.FormatNames() {
		t.Run(name, func(t *testing.T) {
			f, err := alltoall.ParseFormat(name)
			require.NoError(t, err)
			loss, ok := losses()[name]
			require.True(t, ok, "what %s leaves out", name)
			codectest.Run(t, f, loss)
		})
	}
}

// TestStochastic: so are those that are rounded at random.
func TestStochastic(t *testing.T) {
	for f := alltoall.MXFP4; f <= alltoall.Int4H; f++ {
		t.Run(f.String(), func(t *testing.T) {
			codectest.Run(t, alltoall.Stochastic{Format: f, Seed: 5}, codectest.Loss{Most: 0.8, Drifts: true})
		})
	}
}

func FuzzFourBits(f *testing.F) { codectest.Fuzz(f, alltoall.NVFP4H) }

func FuzzFormats(f *testing.F) { codectest.Fuzz(f, alltoall.FP8Expanded) }
