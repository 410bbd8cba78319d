package expert

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// base is what the groups of this package share: their parameters and the buffers of passes in
// flight.
type base struct {
	shape   Shape
	params  *param.Set
	workers int

	free []*pass    // consumed passes, kept for their buffers
	dx   mat.Buffer // result of the last backward pass that was not held

	// cur is the pass that is being computed and dxm, backward, the gradient of its rows; grad is
	// the leaf's gradient being written. They are fields so that per-expert work needs no closure.
	cur  *pass
	dxm  blas32.General
	rows rowGradients
	leaf int
	grad []float32
	add  bool // the leaf's gradient is to be added to grad
}

// pass is a forward pass: its input, what each kind of expert keeps of it, and its answer; between
// BackwardInput and BackwardWeights also the upstream gradient, and the kept matrices hold
// gradients.
type pass struct {
	owner  *base
	state  state
	held   bool // until Release
	frozen bool // the parameters were when the pass began: it computes no gradient of them
	x, dy  blas32.General
	rows   Rows
	y      mat.Buffer
	dx     mat.Buffer // if it is held
	kept   [4]mat.Buffer
}

// state is how far a pass has come.
type state int

const (
	consumed state = iota
	wentForward
	inputDone // by BackwardInput
)

// Params returns the trainable parameters.
func (b *base) Params() *param.Set { return b.params }

// Parallelism is the number of goroutines on which the group computes at most.
func (b *base) Parallelism() int { return b.workers }

// begin checks a forward pass's input and returns a pass that holds it.
func (b *base) begin(x blas32.General, rows Rows) *pass {
	b.check(x, rows)
	var p *pass
	if n := len(b.free); n > 0 {
		p, b.free = b.free[n-1], b.free[:n-1]
	} else {
		p = &pass{owner: b}
	}
	ends := append(p.rows.Ends[:0], rows.Ends...)
	p.state, p.frozen, p.x, p.rows = wentForward, b.params.Frozen, x, rows
	p.rows.Ends = ends
	b.cur = p
	return p
}

// resume checks a backward pass's arguments and makes its pass the current one.
func (b *base) resume(saved Saved, dy blas32.General) *pass {
	p := b.own(saved)
	if p.state != wentForward {
		panic("expert: second backward of one pass")
	}
	if dy.Rows != p.x.Rows {
		panic(fmt.Sprintf("expert: Backward: dy has %d rows, want %d", dy.Rows, p.x.Rows))
	}
	if err := check.Matrix(dy, b.shape.Dim); err != nil {
		panic(fmt.Sprintf("expert: Backward: dy has %v", err))
	}
	dx := &b.dx
	if p.held {
		dx = &p.dx
	}
	b.cur, b.dxm = p, dx.Matrix(dy.Rows, b.shape.Dim)
	p.state, p.dy = inputDone, dy
	return p
}

// pause ends the first half of the current backward pass.
func (b *base) pause() blas32.General {
	dx := b.dxm
	b.cur, b.dxm = nil, blas32.General{}
	return dx
}

// resumeWeights makes a pass the current one for BackwardWeights.
func (b *base) resumeWeights(saved Saved) *pass {
	p := b.own(saved)
	if p.state != inputDone {
		panic("expert: BackwardWeights without the BackwardInput of that pass before")
	}
	b.cur = p
	return p
}

// release ends the current backward pass.
func (b *base) release() {
	p := b.cur
	b.cur, b.grad = nil, nil
	p.state = consumed
	if !p.held {
		b.reuse(p)
	}
}

// reuse keeps the buffers of a pass for the next forward one.
func (b *base) reuse(p *pass) {
	p.state, p.x, p.dy = consumed, blas32.General{}, blas32.General{}
	b.free = append(b.free, p)
}

// Hold implements [Holder].
func (b *base) Hold(saved Saved) {
	p := b.own(saved)
	if p.state != wentForward {
		panic("expert: Hold of a pass that has gone back")
	}
	p.held = true
}

// Release implements [Holder].
func (b *base) Release(saved Saved) {
	p := b.own(saved)
	if !p.held {
		panic("expert: Release of a pass that is not held")
	}
	p.held = false
	b.reuse(p)
}

// own returns the pass that saved is.
func (b *base) own(saved Saved) *pass {
	p, ok := saved.(*pass)
	if !ok || p.owner != b {
		panic("expert: backward of a pass of another group")
	}
	return p
}

func (b *base) check(x blas32.General, rows Rows) {
	if err := check.Matrix(x, b.shape.Dim); err != nil {
		panic(fmt.Sprintf("expert: Forward: x has %v", err))
	}
	if rows.Experts != b.shape.Count || rows.Leaves < 0 || len(rows.Ends) != rows.Experts*rows.Leaves {
		panic(fmt.Sprintf("expert: %d ends of rows for %d experts × %d leaves on a rank of %d experts",
			len(rows.Ends), rows.Experts, rows.Leaves, b.shape.Count))
	}
	last := 0
	if n := len(rows.Ends); n > 0 {
		last = rows.Ends[n-1]
	}
	if last != x.Rows || !slices.IsSorted(rows.Ends) || len(rows.Ends) > 0 && rows.Ends[0] < 0 {
		panic(fmt.Sprintf("expert: ends of rows do not rise from 0 to the input's %d rows", x.Rows))
	}
}

// forWeights returns the memory of what only the gradient of the parameters needs again: the i-th
// matrix that the pass keeps, or scratch if it will compute none.
func (p *pass) forWeights(i int, scratch *mat.Buffer) *mat.Buffer {
	if p.frozen {
		return scratch
	}
	return &p.kept[i]
}

// eachLeaf does nothing if the pass is frozen. Otherwise it calls f for every expert and leaf with
// b.leaf, b.grad and b.add set to the leaf. f overwrites all of the expert's share of b.grad, whose
// content is undefined, or adds to it: clearing it before would take a twentieth of a step, and so
// would a vector for each leaf.
func eachLeaf[G any](b *base, g G, work int, f func(g G, e int)) {
	if b.cur.frozen {
		return
	}
	rows := b.cur.rows
	for l := range rows.Leaves {
		b.leaf = l
		b.grad, b.add = b.params.Grad.Addend(rows.FirstLeaf + l)
		each(b.workers, work/max(rows.Leaves, 1), rows.Experts, g, f)
	}
}

// noGradient clears expert e's share of b.grad, for a leaf without rows for it. If it is to be
// added there is nothing to do: sums that began at +0 are never −0.
func (b *base) noGradient(e int) {
	if b.add {
		return
	}
	for t := range b.params.Tensors() {
		all := b.params.Of(b.grad, t)
		each := len(all) / b.shape.Count
		clear(all[e*each : (e+1)*each])
	}
}

// product computes the gradient x transposed · dy of a tensor of one expert in grad, its share of
// b.grad.
func (b *base) product(x, dy, grad blas32.General) {
	if b.add {
		gemm.Add(blas.Trans, blas.NoTrans, x, dy, grad)
		return
	}
	gemm.Gemm(blas.Trans, blas.NoTrans, x, dy, 0, grad)
}
