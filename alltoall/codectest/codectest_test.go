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
		"fp8-expanded": {Most: 1. / 8, Drifts: true}, // the exponent of a block may be another
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

func FuzzFormats(f *testing.F) { codectest.Fuzz(f, alltoall.FP8Expanded) }
