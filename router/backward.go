package router

import "gonum.org/v1/gonum/blas/blas32"

// Backward is described at [Gate]. The gate uses the decision's memory for a later one. It returns no error.
func (g *tokenChoice) Backward(d *Decision, x blas32.General, grad Gradient) error {
	c, ok := d.saved.(*choices)
	if !ok || c.owner != g {
		panic("router: backward with a decision of another gate")
	}
	if c.spent {
		panic("router: backward a second time with one decision")
	}
	checkGradient(d, x, grad)
	g.dlogits.reset(c.tokens, g.experts)
	clear(g.dlogits.data)
	for i := range c.ends {
		g.backwardGroup(i, c, grad)
	}
	g.projection.backward(grad.DX, g.dlogits.matrix(), x, c.ends, grad.FirstLeaf)
	c.spent = true
	g.free = append(g.free, d)
	return nil
}

// backwardGroup fills dlogits for the tokens of one group.
func (g *tokenChoice) backwardGroup(group int, c *choices, grad Gradient) {
	v := c.lossGroup(group)
	if v.begin == v.end {
		return
	}
	scale := float64(grad.LossScale[group])
	dshare := g.shareGrad(v, scale)
	g.draw = resize(g.draw, c.k)
	for t := v.begin; t < v.end; t++ {
		dlogits := g.dlogits.row(t)
		g.backwardWeights(g.draw, c, t, grad.Weights)
		g.scoring.backward(dlogits, g.draw, dshare, c.token(t))
		for _, l := range g.losses {
			l.term.logitGrad(dlogits, v, t, scale*l.coefficient)
		}
	}
}

// shareGrad returns the gradient of the group's losses with respect to each token's shares, or nil where no loss
// reads them.
func (g *tokenChoice) shareGrad(v *lossGroup, scale float64) []float32 {
	if !g.needShares {
		return nil
	}
	g.dshare = resize(g.dshare, g.experts)
	clear(g.dshare)
	for _, l := range g.losses {
		l.term.shareGrad(g.dshare, v, scale*l.coefficient)
	}
	return g.dshare
}

// backwardWeights fills draw with the gradient with respect to the raw weights of token t: scaling, both
// renormalisations and drops, taken back in turn.
func (g *tokenChoice) backwardWeights(draw []float32, c *choices, t int, dweights []float32) {
	a, b := t*c.k, (t+1)*c.k
	for j, entry := range c.entry[a:b] {
		draw[j] = 0
		if entry != dropped {
			draw[j] = dweights[entry] * g.scale
		}
	}
	if g.renorm == RenormalizeAfterDrop {
		normalizeBackward(draw, c.mid[a:b])
		for j, entry := range c.entry[a:b] {
			if entry == dropped {
				draw[j] = 0
			}
		}
	}
	if g.renorm == RenormalizeBeforeDrop {
		normalizeBackward(draw, c.raw[a:b])
	}
}
