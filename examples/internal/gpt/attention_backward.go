package gpt

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/gemm"
)

// backward turns d, the gradient with respect to the rows that forward wrote for leaf l, into the
// one with respect to the rows that it read, in place, and writes the parameters' gradient to grad,
// which is zero. x is the stream that forward read.
func (a *attention) backward(d, x blas32.General, l leaf, grad []float32) {
	n := l.end - l.begin
	a.dMixed.resize(n, d.Cols)
	a.dQKV.resize(n, 3*d.Cols)
	a.dNormed.resize(n, d.Cols)
	dx := rows(d, l.begin, l.end)
	linearBackward(a.dMixed.General, a.set.Matrix(grad, attnOut), nil,
		dx, rows(a.mixed.General, l.begin, l.end), a.set.Matrix(a.set.Value, attnOut))
	for from := l.begin; from < l.end; from += a.seq {
		for h := range a.heads {
			a.attendBackward(h, from, l.begin)
		}
	}
	linearBackward(a.dNormed.General, a.set.Matrix(grad, attnQKV), nil,
		a.dQKV.General, rows(a.normed.General, l.begin, l.end), a.set.Matrix(a.set.Value, attnQKV))
	g := a.norm(grad)
	a.norm(a.set.Value).backward(dx, a.dNormed.General, rows(x, l.begin, l.end), g)
}

// attendBackward takes the gradient of head h of the sequence that begins at row from back to its
// queries, keys and values. Row offset of the stream is row 0 of the leaf's buffers.
func (a *attention) attendBackward(h, from, offset int) {
	to := from + a.seq
	q, k, v := a.head(a.qkv.General, h, from, to)
	dq, dk, dv := a.head(a.dQKV.General, h, from-offset, to-offset)
	dMixed := a.columns(a.dMixed.General, h, from-offset, to-offset)
	w := a.weightsOf(h, from, to)
	a.dWeights.resize(a.seq, a.seq)
	dw := a.dWeights.General
	gemm.Gemm(blas.NoTrans, blas.Trans, dMixed, v, 0, dw)
	gemm.Gemm(blas.Trans, blas.NoTrans, w, dMixed, 0, dv)
	for i := range w.Rows {
		seen := a.seen(i)
		softmaxBackward(row(dw, i)[:seen], row(w, i)[:seen], a.scale)
		clear(row(dw, i)[seen:])
	}
	gemm.Gemm(blas.NoTrans, blas.NoTrans, dw, k, 0, dq)
	gemm.Gemm(blas.Trans, blas.NoTrans, dw, q, 0, dk)
}
