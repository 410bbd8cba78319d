package lsh

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// TestVariantsHaveFlagsThatThereAre: the program takes them, and makes layers of them.
func TestVariantsHaveFlagsThatThereAre(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process for each variant")
	}
	program := benchtest.Trainer(t)
	for _, v := range variants() {
		if v.name == torchModelName || v.name == noExpertsName { // which has no flags, or no estimate
			continue
		}
		out, err := harness.Output(t.Context(), program, slices.Concat([]string{"-estimate"}, v.flagsFor(100))...)
		require.NoError(t, err, v.name)
		require.Contains(t, out, "layer of block 3", v.name)
	}
}
