//go:build !openblas

package gemm

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Exact says whether [Gemm] keeps its promise to the bit in this build.
const Exact = true

// Name returns what multiplies matrices here: avx512, avx2, go or openblas.
func Name() string { return fastest().name }

func multiply(a, b view, how start, c view) { fastest().multiply(a, b, how, c) }

// general multiplies with any alpha and beta.
func (mp multiplier) general(tA, tB blas.Transpose, alpha float32, a, b blas32.General, beta float32, c blas32.General) {
	mp.Implementation.Sgemm(tA, tB, c.Rows, c.Cols, viewOf(tA, a, "a").cols, alpha, a.Data, a.Stride,
		b.Data, b.Stride, beta, c.Data, c.Stride)
}
