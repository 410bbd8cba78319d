package models_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/modelcheck"
)

// goldens holds checkpoints with vectors that another library computed.
const goldens = "testdata/goldens"

// TestGoldens checks each block against its vectors.
func TestGoldens(t *testing.T) {
	list, err := os.ReadDir(goldens)
	require.NoError(t, err)
	seen := 0
	for _, dir := range list {
		if !dir.IsDir() {
			continue
		}
		seen++
		t.Run(dir.Name(), func(t *testing.T) {
			require.NoError(t, modelcheck.Folder(t.Context(), filepath.Join(goldens, dir.Name()), 1, 2, 4))
		})
	}
	require.Positive(t, seen)
}
