package expert

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// perceptron is what groups of experts with hidden units have in common.
type perceptron struct {
	base
	hidden   int // units of an expert
	products int // of a row with matrices, in a forward pass

	act     blas32.General // the hidden units that the last product takes
	dActBuf mat.Buffer
	dAct    blas32.General // their gradient
}

func newPerceptron(s Shape, params *param.Set, workers, hidden, products int) perceptron {
	return perceptron{base: base{shape: s, params: params, workers: workerCount(workers)}, hidden: hidden, products: products}
}

// work is about how many multiplications the products of n numbers in rows cost.
func (p *perceptron) work(n int) int { return p.products * n * p.hidden }

// passWork is the work of the current pass.
func (p *perceptron) passWork() int { return p.work(p.cur.x.Rows * p.cur.x.Cols) }

// keptSpan returns rows [begin, end) of the i-th matrix that the current pass keeps.
func (p *perceptron) keptSpan(i, begin, end int) blas32.General {
	m := blas32.General{Rows: p.cur.x.Rows, Cols: p.hidden, Stride: p.hidden, Data: p.cur.kept[i]}
	return mat.Rows(m, begin, end)
}

// backwardInput is BackwardInput of a group g that has p: f takes one expert's gradient from the
// answers through the hidden units to the rows.
func backwardInput[G any](p *perceptron, g G, saved Saved, dy blas32.General, f func(g G, e int)) blas32.General {
	p.resume(saved, dy)
	p.dAct = p.dActBuf.Matrix(dy.Rows, p.hidden)
	each(p.workers, p.passWork(), p.cur.rows.Experts, g, f)
	return p.pause()
}

// backwardWeights is BackwardWeights of such a group: f computes one expert's gradient of the
// parameters over the rows of the current leaf.
func backwardWeights[G any](p *perceptron, g G, saved Saved, f func(g G, e int)) {
	p.resumeWeights(saved)
	eachLeaf(&p.base, g, p.passWork(), f)
	p.release()
}
