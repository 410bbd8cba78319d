package expert

import (
	"cmp"
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// GLU is the gated perceptron of models that change [SwiGLU]: (g·sigmoid(Alpha·g) ∘ (u + Shift)) ·
// w_down, where g = x·w_gate and u = x·w_up are clamped by Limit. Its tensors are those of SwiGLU;
// with Biases also b_gate and b_up [experts, Hidden] and b_down [experts, Dim]; with OutputGate
// also w_out [experts, Dim]. The defaults compute what SwiGLU does, slower. (gpt-oss: Alpha 1.702,
// Shift 1, Limit 7 and Biases; DeepSeek-V4: Limit 10; the shared expert of Qwen2-MoE: OutputGate.)
type GLU struct {
	// Hidden is the number of hidden units, at least 1.
	Hidden int
	// Alpha is the slope of the sigmoid; 0 stands for 1.
	Alpha float32
	// Shift is added to u, after it was clamped.
	Shift float32
	// Limit bounds g from above, and u on both sides; 0 is no bound.
	Limit float32
	// LimitAct has Limit bound g·sigmoid(Alpha·g) from above, in place of g. (Step-3.)
	LimitAct bool
	// Biases adds b_gate and b_up to the first products, and b_down to the last.
	Biases bool
	// OutputGate multiplies the answer by sigmoid(x·w_out), one number a row.
	OutputGate bool
	// Scale multiplies the answer; 0 stands for 1. (The mean of routed and shared experts of Cohere.)
	Scale float32
	// Workers is the most goroutines that compute experts of one rank at the same time; 0 means
	// GOMAXPROCS. The results do not depend on it.
	Workers int
}

var (
	_ Expert = GLU{}
	_ Sizer  = GLU{}
)

// The tensors of a GLU after those of a SwiGLU: biases, or else the output gate.
const gluBGate, gluBUp, gluBDown, gluOut = 3, 4, 5, 3

// keptOut is the matrix with the output gate of each row, and its gradient before the sigmoid.
const keptOut = 3

type gluGroup struct {
	swigluGroup
	glu GLU
}

// New checks the configuration and builds the experts of one rank. Biases begin at 0.
func (c GLU) New(s Shape) (Group, error) {
	var wrong faults
	wrong.shape(s, c.Hidden, c.Workers)
	for name, v := range map[string]float32{"Alpha": c.Alpha, "Limit": c.Limit, "Scale": c.Scale} {
		if !(v >= 0) || v-v != 0 {
			wrong = append(wrong, fmt.Errorf("expert: %s is %v, want a finite number from 0", name, v))
		}
	}
	if c.Shift-c.Shift != 0 {
		wrong = append(wrong, fmt.Errorf("expert: Shift is %v, want a finite number", c.Shift))
	}
	if c.Biases && c.scaled() {
		wrong = append(wrong, errors.New("expert: OutputGate and Scale go without Biases"))
	}
	wrong.tensors(c.tensors(s))
	if len(wrong) > 0 {
		return nil, wrong.err()
	}
	c.Alpha, c.Scale = cmp.Or(c.Alpha, 1), cmp.Or(c.Scale, 1)
	params := param.NewSet(c.tensors(s)...)
	for t := range gluBGate {
		initTensor(params, s, t)
	}
	if c.OutputGate {
		for e := range s.Count {
			initialize(mat.Row(params.Matrix(params.Value, gluOut), e), s.Seed, s.First+e, gluOut, s.Dim)
		}
	}
	p := newPerceptron(s, params, c.Workers, c.Hidden, 3)
	return &gluGroup{swigluGroup: swigluGroup{SwiGLU: SwiGLU{Hidden: c.Hidden}, perceptron: p}, glu: c}, nil
}

func (c GLU) tensors(s Shape) []param.Tensor {
	list := SwiGLU{Hidden: c.Hidden}.tensors(s)
	if c.Biases {
		list = append(list, param.Tensor{Name: "b_gate", Shape: []int{s.Count, c.Hidden}},
			param.Tensor{Name: "b_up", Shape: []int{s.Count, c.Hidden}},
			param.Tensor{Name: "b_down", Shape: []int{s.Count, s.Dim}})
	}
	if c.OutputGate {
		list = append(list, param.Tensor{Name: "w_out", Shape: []int{s.Count, s.Dim}})
	}
	return list
}

// scaled tells whether answers are multiplied by something.
func (c GLU) scaled() bool { return c.OutputGate || c.Scale != 0 && c.Scale != 1 }

// Numbers is described at [Sizer].
func (c GLU) Numbers(int) (forward, backward int) {
	if c.OutputGate {
		return 3*c.Hidden + 2, c.Hidden
	}
	return 3 * c.Hidden, c.Hidden
}

// Forward implements [Group].
func (g *gluGroup) Forward(x blas32.General, rows Rows) (blas32.General, Saved) {
	p := g.begin(x, rows)
	p.kept[keptGate].Matrix(x.Rows, g.Hidden)
	p.kept[keptUp].Matrix(x.Rows, g.Hidden)
	if g.glu.OutputGate {
		p.kept[keptOut].Matrix(x.Rows, 2)
	}
	g.act = p.forWeights(keptAct, &g.dActBuf).Matrix(x.Rows, g.Hidden)
	y := p.y.Matrix(x.Rows, x.Cols)
	each(g.workers, g.passWork(), rows.Experts, g, (*gluGroup).forward)
	g.cur = nil
	return y, p
}

func (g *gluGroup) forward(e int) {
	p := g.cur
	begin, end := p.rows.Of(e)
	x := mat.Rows(p.x, begin, end)
	gate, up, act := g.keptSpan(keptGate, begin, end), g.keptSpan(keptUp, begin, end), mat.Rows(g.act, begin, end)
	g.affine(x, e, wGate, gluBGate, gate)
	g.affine(x, e, wUp, gluBUp, up)
	g.glu.value(act.Data, gate.Data, up.Data)
	y := blas32.General{Rows: p.x.Rows, Cols: p.x.Cols, Stride: p.x.Cols, Data: p.y}
	y = mat.Rows(y, begin, end)
	g.affine(act, e, wDown, gluBDown, y)
	for i := 0; g.glu.scaled() && i < y.Rows; i++ {
		if g.glu.OutputGate {
			out := g.out(begin + i)
			out[0] = f32.Dot(mat.Row(x, i), mat.Row(g.params.Matrix(g.params.Value, gluOut), e))
			f32.Sigmoid(out[:1], out[:1])
		}
		f32.Scale(mat.Row(y, i), g.factor(begin+i))
	}
}

// factor is what the answer of a row of the current pass is multiplied by.
func (g *gluGroup) factor(row int) float32 {
	if g.glu.OutputGate {
		return g.glu.Scale * g.out(row)[0]
	}
	return g.glu.Scale
}

// out is what the current pass keeps of a row's output gate.
func (g *gluGroup) out(row int) []float32 { return g.cur.kept[keptOut][2*row : 2*row+2] }

// affine computes dst = bias + x·w, each element starting at the bias, if there are any.
func (g *gluGroup) affine(x blas32.General, e, w, bias int, dst blas32.General) {
	var beta float32
	if g.glu.Biases {
		fill(dst, mat.Row(g.params.Matrix(g.params.Value, bias), e))
		beta = 1
	}
	gemm.Gemm(blas.NoTrans, blas.NoTrans, x, g.weight(w, e), beta, dst)
}

// Backward implements [Group].
func (g *gluGroup) Backward(saved Saved, dy blas32.General) blas32.General {
	dx := g.BackwardInput(saved, dy)
	g.BackwardWeights(saved)
	return dx
}

// BackwardInput implements [SplitBackward].
func (g *gluGroup) BackwardInput(saved Saved, dy blas32.General) blas32.General {
	return backwardInput(&g.perceptron, g, saved, dy, (*gluGroup).backward)
}

// BackwardWeights implements [SplitBackward].
func (g *gluGroup) BackwardWeights(saved Saved) {
	backwardWeights(&g.perceptron, g, saved, (*gluGroup).gradient)
}

// backward computes the gradient with respect to one expert's hidden units, in their memory, and to
// its rows.
func (g *gluGroup) backward(e int) {
	begin, end := g.cur.rows.Of(e)
	gate, up := g.keptSpan(keptGate, begin, end), g.keptSpan(keptUp, begin, end)
	dAct, dx := mat.Rows(g.dAct, begin, end), mat.Rows(g.dxm, begin, end)
	gemm.Gemm(blas.NoTrans, blas.Trans, mat.Rows(g.cur.dy, begin, end), g.weight(wDown, e), 0, dAct)
	for i := range dAct.Rows {
		row := mat.Row(dAct, i)
		if g.glu.scaled() && !g.cur.frozen { // for the gradient of w_down
			f32.Scale(g.keptSpan(keptAct, begin+i, begin+i+1).Data, g.factor(begin+i))
		}
		if logit := g.throughScale(begin+i, row); g.glu.OutputGate {
			g.out(begin + i)[1] = logit
		}
		g.glu.grad(mat.Row(gate, i), mat.Row(up, i), mat.Row(gate, i), mat.Row(up, i), row)
	}
	gemm.Gemm(blas.NoTrans, blas.Trans, gate, g.weight(wGate, e), 0, dx)
	gemm.Gemm(blas.NoTrans, blas.Trans, up, g.weight(wUp, e), 1, dx)
	for i := 0; g.glu.OutputGate && i < dx.Rows; i++ {
		f32.Axpy(mat.Row(dx, i), g.out(begin + i)[1], mat.Row(g.params.Matrix(g.params.Value, gluOut), e))
	}
}

// throughScale turns d, the gradient with respect to the scaled activation of a row, into the one
// before it was scaled, and returns that of the output gate's logit, if there is one.
func (g *gluGroup) throughScale(row int, d []float32) (logit float32) {
	if !g.glu.scaled() {
		return 0
	}
	f32.Scale(d, g.glu.Scale)
	if g.glu.OutputGate {
		logit = g.glu.throughOut(d, g.keptSpan(keptGate, row, row+1).Data, g.keptSpan(keptUp, row, row+1).Data, g.out(row)[0])
	}
	return logit
}

// gradient computes one expert's gradient of the parameters over the rows of the current leaf.
func (g *gluGroup) gradient(e int) {
	begin, end := g.cur.rows.Leaf(e, g.leaf)
	g.swigluGroup.gradient(e)
	if begin == end {
		return
	}
	if g.glu.Biases {
		for t, d := range []blas32.General{g.keptSpan(keptGate, begin, end), g.keptSpan(keptUp, begin, end), mat.Rows(g.cur.dy, begin, end)} {
			g.sumRows(mat.Row(g.params.Matrix(g.grad, gluBGate+t), e), d)
		}
	}
	if g.glu.OutputGate {
		out := blas32.General{Rows: end - begin, Cols: 1, Stride: 2, Data: g.cur.kept[keptOut][2*begin+1:]}
		grad := blas32.General{Rows: 1, Cols: g.shape.Dim, Stride: g.shape.Dim, Data: mat.Row(g.params.Matrix(g.grad, gluOut), e)}
		g.product(out, mat.Rows(g.cur.x, begin, end), grad)
	}
}

// RowGradients implements [RowGradients].
func (g *gluGroup) RowGradients(saved Saved, of []int32, dy, dx blas32.General) {
	g.beginRows(saved, of, dy, dx)
	g.dAct, g.dGate = g.dActBuf.Matrix(dy.Rows, g.Hidden), g.dGateBuf.Matrix(dy.Rows, g.Hidden)
	each(g.workers, g.work(dy.Rows*dy.Cols), g.shape.Count, g, (*gluGroup).rowGradients)
	g.endRows()
}

func (g *gluGroup) rowGradients(e int) {
	begin, end := g.rows.span(e)
	dGate, dUp, dx := mat.Rows(g.dGate, begin, end), mat.Rows(g.dAct, begin, end), mat.Rows(g.rows.dx, begin, end)
	gemm.Gemm(blas.NoTrans, blas.Trans, mat.Rows(g.rows.dy, begin, end), g.weight(wDown, e), 0, dUp)
	outs := make([]float32, end-begin)
	for i, row := range g.rows.of[begin:end] {
		gate, up := g.keptSpan(keptGate, int(row), int(row)+1).Data, g.keptSpan(keptUp, int(row), int(row)+1).Data
		outs[i] = g.throughScale(int(row), mat.Row(dUp, i))
		g.glu.grad(mat.Row(dGate, i), mat.Row(dUp, i), gate, up, mat.Row(dUp, i))
	}
	gemm.Gemm(blas.NoTrans, blas.Trans, dGate, g.weight(wGate, e), 0, dx)
	gemm.Gemm(blas.NoTrans, blas.Trans, dUp, g.weight(wUp, e), 1, dx)
	for i := 0; g.glu.OutputGate && i < dx.Rows; i++ {
		f32.Axpy(mat.Row(dx, i), outs[i], mat.Row(g.params.Matrix(g.params.Value, gluOut), e))
	}
}
