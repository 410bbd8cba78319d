package gpt

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
)

// linear writes x·w to y, with bias added to each row if there is one.
func linear(y, x, w blas32.General, bias []float32) {
	gemm.Gemm(blas.NoTrans, blas.NoTrans, x, w, 0, y)
	if bias == nil {
		return
	}
	for i := range y.Rows {
		f32.Add(row(y, i), bias)
	}
}

// linearBackward writes the gradient with respect to x to dx, and to w to dw, given dy; that with
// respect to the bias is added to db if there is one.
func linearBackward(dx, dw blas32.General, db []float32, dy, x, w blas32.General) {
	gemm.Gemm(blas.NoTrans, blas.Trans, dy, w, 0, dx)
	gemm.Gemm(blas.Trans, blas.NoTrans, x, dy, 0, dw)
	if db == nil {
		return
	}
	for i := range dy.Rows {
		f32.Add(db, row(dy, i))
	}
}
