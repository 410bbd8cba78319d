package gpt

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
)

// sparse is the second half of a block whose feed-forward layer is a Layer: norm, the layer, and
// the sum with the residual stream. It takes all rows of the rank at once, because a layer is where
// ranks meet.
type sparse struct {
	set    *param.Set
	layer  Layer
	normed matrix // tokens × Dim
}

// The tensors of a sparse's set.
const (
	sparseGain = iota
	sparseBias
)

func newSparse(c Config, layer Layer) *sparse {
	s := &sparse{layer: layer, set: param.NewSet(
		param.Tensor{Name: "norm.gain", Shape: []int{c.Dim}},
		param.Tensor{Name: "norm.bias", Shape: []int{c.Dim}},
	)}
	ones(s.set, sparseGain)
	return s
}

func (s *sparse) norm(vec []float32) norm {
	return norm{gain: s.set.Of(vec, sparseGain), bias: s.set.Of(vec, sparseBias)}
}

// forward writes to y the layer's answer to all rows of the stream x, which stand for tokens, plus
// these rows themselves.
func (s *sparse) forward(ctx context.Context, m *Model, y, x blas32.General, tokens []byte, how ask) error {
	if r, ok := s.layer.(Reader); ok {
		r.Tokens(tokens)
	}
	m.turn(func() {
		s.normed.resize(x.Rows, x.Cols)
		s.norm(s.set.Value).forward(s.normed.General, x)
	})
	out, err := how(s.layer, ctx, s.normed.General)
	if err != nil {
		return err
	}
	m.turn(func() {
		copyTo(y, x)
		addTo(y, out)
	})
	return nil
}

// backward turns d, the gradient with respect to the rows that forward wrote, into the one with
// respect to those that it read, in place.
func (s *sparse) backward(ctx context.Context, m *Model, d, x blas32.General) error {
	dNormed, err := s.layer.Backward(ctx, d)
	if err != nil {
		return err
	}
	m.eachLeaf(func(l leaf) {
		grad := s.set.Grad.Leaf(l.number)
		s.norm(s.set.Value).backward(rows(d, l.begin, l.end), rows(dNormed, l.begin, l.end), rows(x, l.begin, l.end), s.norm(grad))
	})
	return nil
}
