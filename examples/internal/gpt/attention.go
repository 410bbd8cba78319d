package gpt

import (
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/param"
)

// attention is the first half of a block: norm, multi-head self-attention, which is causal or goes
// both ways, and a product back to the residual stream. A sequence's queries, keys and values stand
// side by side in the columns of one matrix, which is also the cache of generation: keys and values
// of earlier tokens stay in it.
type attention struct {
	set        *param.Set
	seq, heads int
	scale      float32 // 1/√(width of a head)
	both       bool    // tokens attend to later ones too
	// decay is what is added to a head's scores, by how much later a key is, from 1-Seq to Seq-1.
	decay [][]float32

	normed  matrix // tokens × Dim
	qkv     matrix // tokens × 3·Dim
	weights matrix // (sequence, head, token) × Seq: how much each token attends to each other
	mixed   matrix // tokens × Dim: the values, mixed by weights

	dNormed, dQKV, dMixed matrix // of one leaf
	dWeights              matrix // of one sequence and head
}

// The tensors of an attention's set.
const (
	attnGain = iota
	attnBias
	attnQKV
	attnOut
)

func newAttention(c Config, in initializer) *attention {
	a := &attention{seq: c.Seq, heads: c.Heads, both: c.Bidirectional, scale: float32(1 / math.Sqrt(float64(c.Dim/c.Heads)))}
	a.set = param.NewSet(
		param.Tensor{Name: "norm.gain", Shape: []int{c.Dim}},
		param.Tensor{Name: "norm.bias", Shape: []int{c.Dim}},
		param.Tensor{Name: "qkv", Shape: []int{c.Dim, 3 * c.Dim}},
		param.Tensor{Name: "out", Shape: []int{c.Dim, c.Dim}},
	)
	a.decay = decays(c.Heads, c.Seq)
	ones(a.set, attnGain)
	in.fill(a.set, attnQKV, fanIn(c.Dim))
	in.fill(a.set, attnOut, residual(c.Dim, c.Layers))
	return a
}

// decays returns the linear biases of Press et al. 2022, which let a head begin with the nearest
// tokens instead of having to find them: a head's scores fall with distance, by 1 a token in the
// first head and ever less in the others, down towards 1/256. The slopes are powers of two, which
// are exact on every machine. Both ways a distance counts the same.
func decays(heads, seq int) [][]float32 {
	list := make([][]float32, heads)
	for h := range list {
		slope := float32(math.Ldexp(1, -8*h/heads))
		list[h] = make([]float32, 2*seq-1)
		for i := range list[h] {
			list[h][i] = -slope * float32(max(seq-1-i, i-(seq-1)))
		}
	}
	return list
}

// resize makes room for a number of tokens.
func (a *attention) resize(tokens int) {
	dim := a.set.Tensors()[attnOut].Shape[1]
	a.normed.resize(tokens, dim)
	a.qkv.resize(tokens, 3*dim)
	a.weights.resize((tokens+a.seq-1)/a.seq*a.heads*a.seq, a.seq)
	a.mixed.resize(tokens, dim)
}

func (a *attention) norm(vec []float32) norm {
	return norm{gain: a.set.Of(vec, attnGain), bias: a.set.Of(vec, attnBias)}
}

// forward writes to y the attention's answer to rows [begin, end) of the stream x, plus these rows
// themselves. They must be whole sequences, or, if attention is causal, lie in one sequence whose
// earlier rows came in earlier calls.
func (a *attention) forward(y, x blas32.General, begin, end int) {
	in, out := rows(x, begin, end), rows(y, begin, end)
	normed, qkv := rows(a.normed.General, begin, end), rows(a.qkv.General, begin, end)
	a.norm(a.set.Value).forward(normed, in)
	linear(qkv, normed, a.set.Matrix(a.set.Value, attnQKV), nil)
	for from := begin; from < end; {
		to := min((from/a.seq+1)*a.seq, end)
		for h := range a.heads {
			a.attend(h, from, to)
		}
		from = to
	}
	linear(out, rows(a.mixed.General, begin, end), a.set.Matrix(a.set.Value, attnOut), nil)
	addTo(out, in)
}

// attend mixes head h's values for rows [from, to) of one sequence.
func (a *attention) attend(h, from, to int) {
	start := from / a.seq * a.seq
	q, _, _ := a.head(a.qkv.General, h, from, to)
	_, k, v := a.head(a.qkv.General, h, start, to)
	w := a.weightsOf(h, from, to)
	gemm.Gemm(blas.NoTrans, blas.Trans, q, k, 0, w)
	for i := range w.Rows {
		at := from - start + i
		seen := a.seen(at)
		scores := row(w, i)
		f32.Scale(scores[:seen], a.scale)
		f32.Add(scores[:seen], a.decay[h][a.seq-1-at:][:seen])
		softmax(scores[:seen])
		clear(scores[seen:])
	}
	gemm.Gemm(blas.NoTrans, blas.NoTrans, w, v, 0, a.columns(a.mixed.General, h, from, to))
}

// seen is the number of a sequence's tokens that the one at a position attends to.
func (a *attention) seen(position int) int {
	if a.both {
		return a.seq
	}
	return position + 1
}

// head returns head h's queries, keys and values of rows [from, to).
func (a *attention) head(qkv blas32.General, h, from, to int) (q, k, v blas32.General) {
	dim := qkv.Cols / 3
	width := dim / a.heads
	r := rows(qkv, from, to)
	third := func(i int) blas32.General { return cols(r, i*dim+h*width, i*dim+(h+1)*width) }
	return third(0), third(1), third(2)
}

// columns returns head h's columns of rows [from, to) of m.
func (a *attention) columns(m blas32.General, h, from, to int) blas32.General {
	width := m.Cols / a.heads
	return cols(rows(m, from, to), h*width, (h+1)*width)
}

// weightsOf returns what rows [from, to) of a sequence, in head h, make of the sequence's rows up
// to to.
func (a *attention) weightsOf(h, from, to int) blas32.General {
	sequence, position := from/a.seq, from%a.seq
	first := (sequence*a.heads+h)*a.seq + position
	return cols(rows(a.weights.General, first, first+to-from), 0, position+to-from)
}
