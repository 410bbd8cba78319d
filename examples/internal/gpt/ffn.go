package gpt

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/param"
)

// feedForward is the second half of a dense block: norm, a product to Hidden columns, GELU, and a
// product back to the residual stream.
type feedForward struct {
	set *param.Set

	normed matrix // tokens × Dim
	inner  matrix // tokens × Hidden, before GELU
	active matrix // tokens × Hidden, after it

	dNormed, dInner matrix // of one leaf
}

// The tensors of a feedForward's set.
const (
	ffnGain = iota
	ffnBias
	ffnUp
	ffnUpBias
	ffnDown
	ffnDownBias
)

func newFeedForward(c Config, in initializer) *feedForward {
	f := &feedForward{set: param.NewSet(
		param.Tensor{Name: "norm.gain", Shape: []int{c.Dim}},
		param.Tensor{Name: "norm.bias", Shape: []int{c.Dim}},
		param.Tensor{Name: "up", Shape: []int{c.Dim, c.Hidden}},
		param.Tensor{Name: "up.bias", Shape: []int{c.Hidden}},
		param.Tensor{Name: "down", Shape: []int{c.Hidden, c.Dim}},
		param.Tensor{Name: "down.bias", Shape: []int{c.Dim}},
	)}
	ones(f.set, ffnGain)
	in.fill(f.set, ffnUp, fanIn(c.Dim))
	in.fill(f.set, ffnDown, residual(c.Hidden, c.Layers))
	return f
}

func (f *feedForward) resize(tokens int) {
	shape := f.set.Tensors()[ffnUp].Shape
	f.normed.resize(tokens, shape[0])
	f.inner.resize(tokens, shape[1])
	f.active.resize(tokens, shape[1])
}

func (f *feedForward) norm(vec []float32) norm {
	return norm{gain: f.set.Of(vec, ffnGain), bias: f.set.Of(vec, ffnBias)}
}

// forward writes to y the answer to rows [begin, end) of the stream x, plus these rows themselves.
func (f *feedForward) forward(y, x blas32.General, begin, end int) {
	in, out := rows(x, begin, end), rows(y, begin, end)
	normed := rows(f.normed.General, begin, end)
	inner, active := rows(f.inner.General, begin, end), rows(f.active.General, begin, end)
	v := f.set.Value
	f.norm(v).forward(normed, in)
	linear(inner, normed, f.set.Matrix(v, ffnUp), f.set.Of(v, ffnUpBias))
	for i := range inner.Rows {
		f32.GELU(row(active, i), row(inner, i))
	}
	linear(out, active, f.set.Matrix(v, ffnDown), f.set.Of(v, ffnDownBias))
	addTo(out, in)
}

// backward turns d, the gradient with respect to the rows that forward wrote for leaf l, into the
// one with respect to the rows that it read, in place, and writes the parameters' gradient to grad,
// which is zero.
func (f *feedForward) backward(d, x blas32.General, l leaf, grad []float32) {
	dx, inner := rows(d, l.begin, l.end), rows(f.inner.General, l.begin, l.end)
	v := f.set.Value
	f.dInner.resize(inner.Rows, inner.Cols)
	f.dNormed.resize(dx.Rows, dx.Cols)
	linearBackward(f.dInner.General, f.set.Matrix(grad, ffnDown), f.set.Of(grad, ffnDownBias),
		dx, rows(f.active.General, l.begin, l.end), f.set.Matrix(v, ffnDown))
	for i := range inner.Rows {
		d := row(f.dInner.General, i)
		f32.GELUGrad(d, row(inner, i), d)
	}
	linearBackward(f.dNormed.General, f.set.Matrix(grad, ffnUp), f.set.Of(grad, ffnUpBias),
		f.dInner.General, rows(f.normed.General, l.begin, l.end), f.set.Matrix(v, ffnUp))
	g := f.norm(grad)
	f.norm(v).backward(dx, f.dNormed.General, rows(x, l.begin, l.end), g)
}
