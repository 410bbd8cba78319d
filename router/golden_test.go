package router

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// goldens reads a file of vectors that other systems computed; bench/testdata/goldens/README.md
// says how.
func goldens[T any](t *testing.T, file string) []T {
	data, err := os.ReadFile("../bench/testdata/goldens/" + file)
	require.NoError(t, err)
	var all struct {
		Cases []T `json:"cases"`
	}
	require.NoError(t, json.Unmarshal(data, &all))
	return all.Cases
}

// dense returns the elements as a matrix.
func dense(rows, cols int, data []float32) blas32.General {
	return blas32.General{Rows: rows, Cols: cols, Stride: max(cols, 1), Data: data}
}
