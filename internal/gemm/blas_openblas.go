//go:build openblas

package gemm

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/gemm/openblas"
)

// Exact says whether [Gemm] keeps its promise to the bit in this build. OpenBLAS fuses products
// with sums and picks its order of summation by shape and processor. With version 0.3.21 on Zen 4
// nearly every product differs from the definition in its last bits, and in about a fifth of random
// shapes a row's bits depend on how many other rows there are.
const Exact = false

// Name returns what multiplies matrices here: avx512, avx2, go or openblas.
func Name() string { return "openblas" }

func multiply(a, b view, how start, c view) {
	tA, lda := a.layout()
	tB, ldb := b.layout()
	beta := float32(0)
	if how == fromC {
		beta = 1
	}
	openblas.Sgemm(tA, tB, c.rows, c.cols, a.cols, 1, a.data, lda, b.data, ldb, beta, c.data, c.rs)
}

// layout returns how BLAS names the view's strides. Where both are 1, only one of the names is
// legal.
func (v view) layout() (blas.Transpose, int) {
	if v.cs == 1 && v.rs >= v.cols {
		return blas.NoTrans, v.rs
	}
	return blas.Trans, v.cs
}

// general multiplies with any alpha and beta; the shapes have been checked.
func (multiplier) general(tA, tB blas.Transpose, alpha float32, a, b blas32.General, beta float32, c blas32.General) {
	openblas.Sgemm(tA, tB, c.Rows, c.Cols, viewOf(tA, a, "a").cols, alpha, a.Data, a.Stride,
		b.Data, b.Stride, beta, c.Data, c.Stride)
}
