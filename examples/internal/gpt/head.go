package gpt

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/param"
)

// head is the end of the model: norm, a score for each byte that could come next, and the
// cross-entropy loss.
type head struct {
	set *param.Set

	normed matrix // tokens × Dim
	probs  matrix // tokens × Vocab: scores, then what the model gives each byte

	dNormed matrix // of one leaf
}

// The tensors of a head's set.
const (
	headGain = iota
	headBias
	headOut
)

func newHead(c Config, in initializer) *head {
	h := &head{set: param.NewSet(
		param.Tensor{Name: "norm.gain", Shape: []int{c.Dim}},
		param.Tensor{Name: "norm.bias", Shape: []int{c.Dim}},
		param.Tensor{Name: "out", Shape: []int{c.Dim, Vocab}},
	)}
	ones(h.set, headGain)
	in.fill(h.set, headOut, embedDeviation) // near 0: every byte is about as likely at first
	return h
}

func (h *head) resize(tokens int) {
	h.normed.resize(tokens, h.set.Tensors()[headOut].Shape[0])
	h.probs.resize(tokens, Vocab)
}

func (h *head) norm(vec []float32) norm {
	return norm{gain: h.set.Of(vec, headGain), bias: h.set.Of(vec, headBias)}
}

// scores returns the scores of rows [begin, end) of the stream x.
func (h *head) scores(x blas32.General, begin, end int) blas32.General {
	normed, out := rows(h.normed.General, begin, end), rows(h.probs.General, begin, end)
	h.norm(h.set.Value).forward(normed, rows(x, begin, end))
	linear(out, normed, h.set.Matrix(h.set.Value, headOut), nil)
	return out
}

// forward returns the sum over rows [begin, end) of the stream x of the loss, in nats: minus the
// logarithm of what the model gives to each row's target. scored tells which rows count; nil says
// that all do.
func (h *head) forward(x blas32.General, begin, end int, targets []byte, scored []bool) float64 {
	probs := h.scores(x, begin, end)
	var loss float64
	for i, t := range targets {
		if scored != nil && !scored[i] {
			continue
		}
		p := row(probs, i)
		score := float64(p[t])
		top, sum := softmax(p)
		loss += math.Log(float64(sum)) + float64(top) - score
	}
	return loss
}

// backward writes to d the gradient with respect to the stream x of scale × the loss of leaf l, and
// the parameters' gradient to grad, which is zero. scored is as in forward.
func (h *head) backward(d, x blas32.General, l leaf, targets []byte, scored []bool, scale float32, grad []float32) {
	dx, dScores := rows(d, l.begin, l.end), rows(h.probs.General, l.begin, l.end)
	for i, t := range targets {
		p := row(dScores, i) // the gradient of a row's loss: its probabilities, less 1 at the target
		if scored != nil && !scored[i] {
			clear(p)
			continue
		}
		p[t]--
		f32.Scale(p, scale)
	}
	h.dNormed.resize(dx.Rows, dx.Cols)
	linearBackward(h.dNormed.General, h.set.Matrix(grad, headOut), nil,
		dScores, rows(h.normed.General, l.begin, l.end), h.set.Matrix(h.set.Value, headOut))
	g := h.norm(grad)
	for i := range dx.Rows {
		clear(row(dx, i))
	}
	h.norm(h.set.Value).backward(dx, h.dNormed.General, rows(x, l.begin, l.end), g)
}
