// Package gemm multiplies float32 matrices, with a result that is defined to the bit: see [Gemm].
//
// The product is computed as Goto and van de Geijn 2008 do: panels of b, a block of k deep, are
// packed so that the innermost loop reads them in order, and a kernel keeps one small tile of c in
// registers while it runs through k. There are kernels in assembly for AVX-512 and AVX2 and one in
// Go; each element of c is one accumulator in all of them, which is why they agree to the bit.
//
// With the build tag openblas the products go to OpenBLAS instead, which is faster on some machines
// and promises less: see [Exact].
package gemm

import (
	"fmt"
	"slices"
	"sync"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Gemm computes c = a·b + beta·c, with a or b transposed where tA or tB says so; beta is 0 or 1,
// and with 0 what c held before, NaN included, does not matter. c must not overlap a or b. It may
// be called by many goroutines.
//
// Each element of c starts at +0, or at its old value if beta is 1, and adds the float32 products
// a[i,k]·b[k,j] one after the other in ascending k, every product and every sum rounded apart. So a
// row of c does not depend on the other rows of a, a column not on the other columns of b, and all
// machines compute the same bits; only the payload of a NaN is left open.
//
// It panics if the shapes do not fit or a matrix is shorter than its shape says.
func Gemm(tA, tB blas.Transpose, a, b blas32.General, beta float32, c blas32.General) {
	if beta != 0 && beta != 1 {
		panic(fmt.Sprintf("gemm: beta is %v, must be 0 or 1", beta))
	}
	how := fromZero
	if beta == 1 {
		how = fromC
	}
	av, bv, cv := views(tA, tB, a, b, c)
	switch {
	case c.Rows == 0 || c.Cols == 0:
	case av.cols == 0:
		clearUnless(beta == 1, c)
	default:
		multiply(av, bv, how, cv)
	}
}

// Add adds to c the product a·b: the elements of Gemm with beta 0, one rounded sum each. So it has
// the bits of that product in memory of its own, added to c afterwards, which Gemm with beta 1 has
// not.
func Add(tA, tB blas.Transpose, a, b blas32.General, c blas32.General) {
	av, bv, cv := views(tA, tB, a, b, c)
	switch {
	case c.Rows == 0 || c.Cols == 0:
	case Exact && 0 < av.cols && av.cols <= blockDepth:
		multiply(av, bv, onC, cv)
	default:
		data := products.Get().(*[]float32)
		*data = slices.Grow((*data)[:0], c.Rows*c.Cols)[:c.Rows*c.Cols]
		t := blas32.General{Rows: c.Rows, Cols: c.Cols, Stride: c.Cols, Data: *data}
		Gemm(tA, tB, a, b, 0, t)
		addTile(c.Data, c.Stride, t.Data, t.Stride, c.Rows, c.Cols)
		products.Put(data)
	}
}

// products is memory for those that are added when they are complete.
var products = sync.Pool{New: func() any { return new([]float32) }}

// views checks that the shapes fit.
func views(tA, tB blas.Transpose, a, b, c blas32.General) (av, bv, cv view) {
	av, bv = viewOf(tA, a, "a"), viewOf(tB, b, "b")
	if av.cols != bv.rows || c.Rows != av.rows || c.Cols != bv.cols {
		panic(fmt.Sprintf("gemm: %d×%d times %d×%d into %d×%d", av.rows, av.cols, bv.rows, bv.cols, c.Rows, c.Cols))
	}
	return av, bv, viewOf(blas.NoTrans, c, "c")
}

// clearUnless zeroes c if keep is false.
func clearUnless(keep bool, c blas32.General) {
	if keep {
		return
	}
	for i := range c.Rows {
		clear(c.Data[i*c.Stride : i*c.Stride+c.Cols])
	}
}

// view is a matrix whose element (i, j) is data[i*rs+j*cs]; one of the strides is 1. It is how a
// transpose becomes an exchange of two numbers.
type view struct {
	data       []float32
	rows, cols int
	rs, cs     int
}

// from returns the data from element (i, j) on.
func (v view) from(i, j int) []float32 { return v.data[i*v.rs+j*v.cs:] }

func viewOf(t blas.Transpose, m blas32.General, name string) view {
	if m.Rows < 0 || m.Cols < 0 || m.Stride < max(m.Cols, 1) {
		panic(fmt.Sprintf("gemm: %s is %d×%d with stride %d", name, m.Rows, m.Cols, m.Stride))
	}
	if m.Rows > 0 && m.Cols > 0 && len(m.Data) < (m.Rows-1)*m.Stride+m.Cols {
		panic(fmt.Sprintf("gemm: %s has %d elements, too few for %d×%d with stride %d",
			name, len(m.Data), m.Rows, m.Cols, m.Stride))
	}
	switch t {
	case blas.NoTrans:
		return view{m.Data, m.Rows, m.Cols, m.Stride, 1}
	case blas.Trans, blas.ConjTrans:
		return view{m.Data, m.Cols, m.Rows, 1, m.Stride}
	}
	panic(fmt.Sprintf("gemm: transpose of %s is %q", name, t))
}
