package expert

import (
	"fmt"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// FFN is the two-layer perceptron of the Transformer: act(x·w1 + b1)·w2 + b2. Its tensors are w1
// [experts, Dim, Hidden], b1 [experts, Hidden], w2 [experts, Hidden, Dim] and b2 [experts, Dim].
type FFN struct {
	// Hidden is the number of hidden units, at least 1.
	Hidden int
	// Activation is the function between the products.
	Activation Activation
	// NoBias leaves b1 and b2 out.
	NoBias bool
	// Workers is the most goroutines that compute experts of one rank at the same time; 0 means
	// GOMAXPROCS. The results do not depend on it.
	Workers int
}

var _ Expert = FFN{}

// The tensors of an FFN with biases, and of one without, in order.
const (
	ffnW1, ffnB1, ffnW2, ffnB2 = 0, 1, 2, 3
	ffnW2NoBias                = 1
)

// The matrices that an FFN keeps of a pass: the hidden units before and after the activation. After
// BackwardInput the first one holds gradients.
const ffnPre, ffnAct = 0, 1

type ffnGroup struct {
	perceptron
	FFN
	w2 int // w2's number in the set
}

// New checks the configuration and builds the experts of one rank.
func (f FFN) New(s Shape) (Group, error) {
	var wrong faults
	wrong.shape(s, f.Hidden, f.Workers)
	if f.Activation != ReLU && f.Activation != GELU {
		wrong = append(wrong, fmt.Errorf("expert: Activation is %v, must be relu or gelu", f.Activation))
	}
	wrong.tensors(f.tensors(s))
	if len(wrong) > 0 {
		return nil, wrong.err()
	}
	g := &ffnGroup{FFN: f, w2: ffnW2}
	if f.NoBias {
		g.w2 = ffnW2NoBias
	}
	g.perceptron = newPerceptron(s, param.NewSet(f.tensors(s)...), f.Workers, f.Hidden, 2)
	initTensor(g.params, s, ffnW1)
	initTensor(g.params, s, g.w2)
	return g, nil
}

func (f FFN) tensors(s Shape) []param.Tensor {
	w1 := param.Tensor{Name: "w1", Shape: []int{s.Count, s.Dim, f.Hidden}}
	b1 := param.Tensor{Name: "b1", Shape: []int{s.Count, f.Hidden}}
	w2 := param.Tensor{Name: "w2", Shape: []int{s.Count, f.Hidden, s.Dim}}
	b2 := param.Tensor{Name: "b2", Shape: []int{s.Count, s.Dim}}
	if f.NoBias {
		return []param.Tensor{w1, w2}
	}
	return []param.Tensor{w1, b1, w2, b2}
}

// Forward implements [Group].
func (g *ffnGroup) Forward(x blas32.General, rows Rows) (blas32.General, Saved) {
	p := g.begin(x, rows)
	p.kept[ffnPre].Matrix(x.Rows, g.Hidden)
	g.act = p.forWeights(ffnAct, &g.dActBuf).Matrix(x.Rows, g.Hidden)
	y := p.y.Matrix(x.Rows, x.Cols)
	each(g.workers, g.passWork(), rows.Experts, g, (*ffnGroup).forward)
	g.cur = nil
	return y, p
}

func (g *ffnGroup) forward(e int) {
	p := g.cur
	begin, end := p.rows.Of(e)
	pre, act := g.keptSpan(ffnPre, begin, end), mat.Rows(g.act, begin, end)
	g.affine(mat.Rows(p.x, begin, end), e, ffnW1, ffnB1, pre)
	g.Activation.apply(act.Data, pre.Data)
	y := blas32.General{Rows: p.x.Rows, Cols: p.x.Cols, Stride: p.x.Cols, Data: p.y}
	g.affine(act, e, g.w2, ffnB2, mat.Rows(y, begin, end))
}

// affine computes dst = bias + x·w, each element starting at the bias and adding products in order.
func (g *ffnGroup) affine(x blas32.General, e, w, bias int, dst blas32.General) {
	var beta float32
	if !g.NoBias {
		fill(dst, mat.Row(g.params.Matrix(g.params.Value, bias), e))
		beta = 1
	}
	gemm.Gemm(blas.NoTrans, blas.NoTrans, x, g.params.Slice(g.params.Value, w, e), beta, dst)
}

// Backward implements [Group].
func (g *ffnGroup) Backward(saved Saved, dy blas32.General) blas32.General {
	dx := g.BackwardInput(saved, dy)
	g.BackwardWeights(saved)
	return dx
}

// BackwardInput implements [SplitBackward].
func (g *ffnGroup) BackwardInput(saved Saved, dy blas32.General) blas32.General {
	return backwardInput(&g.perceptron, g, saved, dy, (*ffnGroup).backward)
}

// BackwardWeights implements [SplitBackward].
func (g *ffnGroup) BackwardWeights(saved Saved) {
	backwardWeights(&g.perceptron, g, saved, (*ffnGroup).gradient)
}

// backward computes the gradient with respect to one expert's hidden units, in their memory, and to
// its rows.
func (g *ffnGroup) backward(e int) {
	begin, end := g.cur.rows.Of(e)
	pre, dAct := g.keptSpan(ffnPre, begin, end), mat.Rows(g.dAct, begin, end)
	value := g.params.Value
	gemm.Gemm(blas.NoTrans, blas.Trans, mat.Rows(g.cur.dy, begin, end), g.params.Slice(value, g.w2, e), 0, dAct)
	g.Activation.chain(pre.Data, pre.Data, dAct.Data)
	gemm.Gemm(blas.NoTrans, blas.Trans, pre, g.params.Slice(value, ffnW1, e), 0, mat.Rows(g.dxm, begin, end))
}

// gradient computes one expert's gradient of the parameters over the rows of the current leaf.
func (g *ffnGroup) gradient(e int) {
	begin, end := g.cur.rows.Leaf(e, g.leaf)
	if begin == end {
		g.noGradient(e)
		return
	}
	x, act := mat.Rows(g.cur.x, begin, end), g.keptSpan(ffnAct, begin, end)
	dPre, dy := g.keptSpan(ffnPre, begin, end), mat.Rows(g.cur.dy, begin, end)
	g.product(x, dPre, g.params.Slice(g.grad, ffnW1, e))
	g.product(act, dy, g.params.Slice(g.grad, g.w2, e))
	if !g.NoBias {
		g.sumRows(mat.Row(g.params.Matrix(g.grad, ffnB1), e), dPre)
		g.sumRows(mat.Row(g.params.Matrix(g.grad, ffnB2), e), dy)
	}
}

// sumRows puts the sum of the rows of m, added up in ascending order, into grad, or adds it.
func (b *base) sumRows(grad []float32, m blas32.General) {
	if !b.add {
		clear(grad)
		for i := range m.Rows {
			f32.Add(grad, mat.Row(m, i))
		}
		return
	}
	for j := range grad { // by columns: a row of sums would need memory for each goroutine
		sum := float32(0)
		for i := range m.Rows {
			sum += m.Data[i*m.Stride+j]
		}
		grad[j] += sum
	}
}
