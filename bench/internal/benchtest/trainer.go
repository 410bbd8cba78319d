package benchtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// Trainer builds examples/train for a test, and returns where it is.
func Trainer(t *testing.T) (program string) {
	t.Helper()
	built, err := harness.NewTrainer(t.Context(), "test")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, built.Remove()) })
	return built.Program
}
