package router

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// Backward is described at [Gate]. The choice is held fixed. The gate uses the decision's memory
// for a later one. It returns no error.
func (g *expertChoice) Backward(d *Decision, x blas32.General, grad Gradient) error {
	c, ok := d.Saved.(*election)
	if !ok || c.gate != g {
		panic("router: backward with a decision of another gate")
	}
	if c.spent {
		panic("router: backward a second time with one decision")
	}
	checkGradient(d, x, grad)
	x = withoutPadding(x, c.padding, &c.clean)
	g.scoreGradient(c, grad.Weights)
	g.projectBackward(c, x, grad)
	c.spent = true
	g.free = append(g.free, d)
	return nil
}

// scoreGradient fills dlogits.
func (g *expertChoice) scoreGradient(c *election, dweights []float32) {
	g.dlogits.reset(c.tokens, g.experts)
	clear(g.dlogits.data)
	g.draw.reset(c.tokens, g.experts)
	clear(g.draw.data)
	begin := 0
	for e, end := range c.d.Ends {
		for i, t := range c.d.Token[begin:end] {
			g.draw.row(int(t))[e] = dweights[begin+i]
		}
		begin = end
	}
	for t := range c.tokens {
		if c.class[t] == none {
			continue
		}
		dlogits, draw, scores := g.dlogits.row(t), g.draw.row(t), c.scores.row(t)
		if !g.sigmoid {
			softmaxBackward(dlogits, scores, draw)
			continue
		}
		for e, v := range draw {
			dlogits[e] = float32(float64(v) * slope(scores[e]))
		}
	}
}

// projectBackward takes dlogits back to the tokens, and with the auxiliary routers' loss to the
// parameters unless those are frozen.
func (g *expertChoice) projectBackward(c *election, x blas32.General, grad Gradient) {
	if !g.set.Frozen {
		g.leaves(c, x, grad)
	}
	if c.tokens == 0 {
		return
	}
	for j, cols := range g.columns {
		gemm.Gemm(blas.NoTrans, blas.Trans, cols.of(g.dlogits.matrix()), g.set.Matrix(g.set.Value, j), 1, grad.DX)
	}
}

// leaves gives the gradient of the parameters, to which alone the auxiliary routers' loss adds.
func (g *expertChoice) leaves(c *election, x blas32.General, grad Gradient) {
	dlogits := g.dlogits.matrix()
	begin := 0
	for i, end := range c.ends {
		leaf := g.set.Grad.Leaf(grad.FirstLeaf + i)
		ofLosses := leaf
		if grad.Losses != nil {
			ofLosses = grad.Losses.Grad.Leaf(grad.FirstLeaf + i)
		}
		if begin < end {
			for j, cols := range g.columns {
				gemm.Gemm(blas.Trans, blas.NoTrans, mat.Rows(x, begin, end), mat.Rows(cols.of(dlogits), begin, end), 0, g.set.Matrix(leaf, j))
			}
			if g.aux != nil && c.train {
				g.aux.backward(c, x, begin, end, ofLosses, grad.LossScale[i])
			}
		}
		begin = end
	}
}

// LossParams is described at [LossSplitter].
func (g *expertChoice) LossParams() *param.Set {
	if g.aux == nil {
		return nil
	}
	return likeParams(g.set)
}
