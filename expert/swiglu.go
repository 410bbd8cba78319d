package expert

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// SwiGLU is the gated perceptron of Shazeer 2020, (silu(x·w_gate) ∘ (x·w_up))·w_down, without
// biases. Its tensors are w_gate and w_up [experts, Dim, Hidden] and w_down [experts, Hidden, Dim].
type SwiGLU struct {
	// Hidden is the number of hidden units, at least 1.
	Hidden int
	// Workers is the most goroutines that compute experts of one rank at the same time; 0 means
	// GOMAXPROCS. The results do not depend on it.
	Workers int
}

var _ Expert = SwiGLU{}

// The tensors of a SwiGLU in order.
const wGate, wUp, wDown = 0, 1, 2

// The matrices that a SwiGLU keeps of a pass: the two products, after BackwardInput their
// gradients, and the input of the third product.
const keptGate, keptUp, keptAct = 0, 1, 2

type swigluGroup struct {
	perceptron
	SwiGLU

	dGateBuf mat.Buffer
	dGate    blas32.General // gradient of the first product, of RowGradients
}

// New checks the configuration and builds the experts of one rank.
func (c SwiGLU) New(s Shape) (Group, error) {
	var wrong faults
	wrong.shape(s, c.Hidden, c.Workers)
	wrong.tensors(c.tensors(s))
	if len(wrong) > 0 {
		return nil, wrong.err()
	}
	params := param.NewSet(c.tensors(s)...)
	for t := range params.Tensors() {
		initTensor(params, s, t)
	}
	return &swigluGroup{SwiGLU: c, perceptron: newPerceptron(s, params, c.Workers, c.Hidden, 3)}, nil
}

func (c SwiGLU) tensors(s Shape) []param.Tensor {
	return []param.Tensor{
		{Name: "w_gate", Shape: []int{s.Count, s.Dim, c.Hidden}},
		{Name: "w_up", Shape: []int{s.Count, s.Dim, c.Hidden}},
		{Name: "w_down", Shape: []int{s.Count, c.Hidden, s.Dim}},
	}
}

// Forward implements [Group].
func (g *swigluGroup) Forward(x blas32.General, rows Rows) (blas32.General, Saved) {
	p := g.begin(x, rows)
	p.kept[keptGate].Matrix(x.Rows, g.Hidden)
	p.kept[keptUp].Matrix(x.Rows, g.Hidden)
	g.act = p.forWeights(keptAct, &g.dActBuf).Matrix(x.Rows, g.Hidden)
	y := p.y.Matrix(x.Rows, x.Cols)
	each(g.workers, g.passWork(), rows.Experts, g, (*swigluGroup).forward)
	g.cur = nil
	return y, p
}

func (g *swigluGroup) forward(e int) {
	p := g.cur
	begin, end := p.rows.Of(e)
	x := mat.Rows(p.x, begin, end)
	gate, up, act := g.keptSpan(keptGate, begin, end), g.keptSpan(keptUp, begin, end), mat.Rows(g.act, begin, end)
	gemm.Gemm(blas.NoTrans, blas.NoTrans, x, g.weight(wGate, e), 0, gate)
	gemm.Gemm(blas.NoTrans, blas.NoTrans, x, g.weight(wUp, e), 0, up)
	f32.SwiGLU(act.Data, gate.Data, up.Data)
	y := blas32.General{Rows: p.x.Rows, Cols: p.x.Cols, Stride: p.x.Cols, Data: p.y}
	gemm.Gemm(blas.NoTrans, blas.NoTrans, act, g.weight(wDown, e), 0, mat.Rows(y, begin, end))
}

func (g *swigluGroup) weight(tensor, e int) blas32.General {
	return g.params.Slice(g.params.Value, tensor, e)
}

// Backward implements [Group].
func (g *swigluGroup) Backward(saved Saved, dy blas32.General) blas32.General {
	dx := g.BackwardInput(saved, dy)
	g.BackwardWeights(saved)
	return dx
}

// BackwardInput implements [SplitBackward].
func (g *swigluGroup) BackwardInput(saved Saved, dy blas32.General) blas32.General {
	return backwardInput(&g.perceptron, g, saved, dy, (*swigluGroup).backward)
}

// BackwardWeights implements [SplitBackward].
func (g *swigluGroup) BackwardWeights(saved Saved) {
	backwardWeights(&g.perceptron, g, saved, (*swigluGroup).gradient)
}

// backward computes the gradient with respect to one expert's hidden units, in their memory, and to
// its rows.
func (g *swigluGroup) backward(e int) {
	begin, end := g.cur.rows.Of(e)
	gate, up := g.keptSpan(keptGate, begin, end), g.keptSpan(keptUp, begin, end)
	dAct, dx := mat.Rows(g.dAct, begin, end), mat.Rows(g.dxm, begin, end)
	gemm.Gemm(blas.NoTrans, blas.Trans, mat.Rows(g.cur.dy, begin, end), g.weight(wDown, e), 0, dAct)
	f32.SwiGLUGrad(gate.Data, up.Data, gate.Data, up.Data, dAct.Data)
	gemm.Gemm(blas.NoTrans, blas.Trans, gate, g.weight(wGate, e), 0, dx)
	gemm.Gemm(blas.NoTrans, blas.Trans, up, g.weight(wUp, e), 1, dx)
}

// gradient computes one expert's gradient of the parameters over the rows of the current leaf.
func (g *swigluGroup) gradient(e int) {
	begin, end := g.cur.rows.Leaf(e, g.leaf)
	if begin == end {
		g.noGradient(e)
		return
	}
	x, act, dy := mat.Rows(g.cur.x, begin, end), g.keptSpan(keptAct, begin, end), mat.Rows(g.cur.dy, begin, end)
	g.product(x, g.keptSpan(keptGate, begin, end), g.params.Slice(g.grad, wGate, e))
	g.product(x, g.keptSpan(keptUp, begin, end), g.params.Slice(g.grad, wUp, e))
	g.product(act, dy, g.params.Slice(g.grad, wDown, e))
}
