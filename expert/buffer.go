package expert

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// fill copies v into every row of m.
func fill(m blas32.General, v []float32) {
	for i := range m.Rows {
		copy(mat.Row(m, i), v)
	}
}
