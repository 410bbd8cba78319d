//go:build openblas

package gemm

import (
	"slices"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// TestOpenBLASRowIndependence measures, and does not demand, that a row's bits do not depend on the
// other rows.
func TestOpenBLASRowIndependence(t *testing.T) {
	r := seeded(t)
	differing, off := 0, 0
	const trials = 100
	for range trials {
		m, k, n := 1+r.IntN(99), 1+r.IntN(600), 1+r.IntN(200)
		const all = 100
		a, b := matrix(r, all, k, 0), matrix(r, k, n, 0)
		whole, part := matrix(r, all, n, 0), matrix(r, m, n, 0)
		Gemm(blas.NoTrans, blas.NoTrans, a, b, 0, whole)
		first := blas32.General{Rows: m, Cols: k, Stride: a.Stride, Data: a.Data}
		Gemm(blas.NoTrans, blas.NoTrans, first, b, 0, part)
		if !slices.Equal(part.Data[:m*n], whole.Data[:m*n]) {
			differing++
		}
		exact := clone(part)
		reference(viewOf(blas.NoTrans, first, "a"), viewOf(blas.NoTrans, b, "b"), fromZero, viewOf(blas.NoTrans, exact, "c"))
		if !slices.Equal(part.Data, exact.Data) {
			off++
		}
	}
	t.Logf("rows depend on the number of rows in %d of %d products; %d differ from this package's definition", differing, trials, off)
}
