package gemm

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/blas/gonum"
)

// multiplier is gonum's BLAS with another Sgemm.
type multiplier struct{ gonum.Implementation }

var _ blas.Float32 = multiplier{}

// Implementation returns a BLAS that multiplies matrices as [Gemm] does and is gonum's for the
// rest.
func Implementation() blas.Float32 { return multiplier{} }

// Sgemm computes c = alpha·a·b + beta·c, a of m×k and b of k×n after transposition; see gonum's for
// the arguments. With alpha 1 and beta 0 or 1 it is [Gemm], with its panics.
func (mp multiplier) Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int,
	b []float32, ldb int, beta float32, c []float32, ldc int) {
	am, bm := stored(tA, m, k, a, lda), stored(tB, k, n, b, ldb)
	cm := blas32.General{Rows: m, Cols: n, Stride: ldc, Data: c}
	if alpha == 1 && (beta == 0 || beta == 1) {
		Gemm(tA, tB, am, bm, beta, cm)
		return
	}
	av, bv, cv := viewOf(tA, am, "a"), viewOf(tB, bm, "b"), viewOf(blas.NoTrans, cm, "c")
	if cv.rows == 0 || cv.cols == 0 {
		return
	}
	if av.cols == 0 || bv.rows == 0 {
		scale(cm, beta)
		return
	}
	mp.general(tA, tB, alpha, am, bm, beta, cm)
}

// stored describes the memory of an operand that is rows×cols after t.
func stored(t blas.Transpose, rows, cols int, data []float32, ld int) blas32.General {
	if t != blas.NoTrans {
		rows, cols = cols, rows
	}
	return blas32.General{Rows: rows, Cols: cols, Stride: ld, Data: data}
}

// scale multiplies m by f; with 0 it clears it whatever it held.
func scale(m blas32.General, f float32) {
	if f == 0 {
		clearUnless(false, m)
		return
	}
	for i := range m.Rows {
		for j := range m.Cols {
			m.Data[i*m.Stride+j] *= f
		}
	}
}
