package gpt

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/param"
)

// embedding turns tokens into rows: a row for the byte plus a row for its position in the sequence.
type embedding struct {
	set *param.Set
	seq int
}

// The tensors of an embedding's set.
const (
	embedToken = iota
	embedPosition
)

func newEmbedding(c Config, in initializer) *embedding {
	e := &embedding{seq: c.Seq, set: param.NewSet(
		param.Tensor{Name: "token", Shape: []int{Vocab, c.Dim}},
		param.Tensor{Name: "position", Shape: []int{c.Seq, c.Dim}},
	)}
	in.fill(e.set, embedToken, embedDeviation)
	in.fill(e.set, embedPosition, embedDeviation)
	return e
}

// forward writes the rows of tokens to x; the first of them is at position from of its sequence.
func (e *embedding) forward(x blas32.General, tokens []byte, from int) {
	token, position := e.set.Matrix(e.set.Value, embedToken), e.set.Matrix(e.set.Value, embedPosition)
	for i, t := range tokens {
		copy(row(x, i), row(token, int(t)))
		f32.Add(row(x, i), row(position, (from+i)%e.seq))
	}
}

// backward writes the parameters' gradient of one leaf to grad, which is zero, given dx.
func (e *embedding) backward(dx blas32.General, tokens []byte, grad []float32) {
	token, position := e.set.Matrix(grad, embedToken), e.set.Matrix(grad, embedPosition)
	for i, t := range tokens {
		f32.Add(row(token, int(t)), row(dx, i))
		f32.Add(row(position, i%e.seq), row(dx, i))
	}
}
