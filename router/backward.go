package router

import "gonum.org/v1/gonum/blas/blas32"

// Backward is described at [Gate]. The gate uses the decision's memory for a later one. It returns no error.
func (g *tokenChoice) Backward(d *Decision, x blas32.General, grad Gradient) error {
	c := g.own(d)
	checkGradient(d, x, grad)
	g.dlogits.reset(c.tokens, g.experts)
	clear(g.dlogits.data)
	for i := range c.ends {
		g.backwardGroup(i, c, grad)
	}
	if g.balancing != nil {
		g.balancing.add(g.tally, c)
	}
	c.spread(&g.dlogits)
	c.in.setTokens(x)
	g.projection.backward(grad.DX, g.dlogits.matrix(), &c.in, grad.FirstLeaf)
	c.in.x, c.in.Features = blas32.General{}, blas32.General{}
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
		d := tokenGrad{shares: dshare, logits: g.dlogits.row(t), weights: g.draw}
		if g.needs.tokenShares {
			d.shares = append(g.dtoken[:0], dshare...)
			g.dtoken = d.shares
		}
		g.backwardDrop(d.weights, d.logits, c, t, grad.Weights)
		for _, l := range g.losses {
			l.term.tokenGrad(d, v, t, scale*l.coefficient)
		}
		if g.renorm == RenormalizeBeforeDrop && !normalizeBackward(d.weights, c.raw[t*c.k:(t+1)*c.k]) {
			g.faintBackward(d.logits, d.weights, c.token(t), nil)
		}
		g.scoring.backward(d.logits, d.weights, d.shares, c.token(t))
	}
}

// shareGrad returns the gradient of the group's losses with respect to each token's shares, or nil where no loss
// reads them.
func (g *tokenChoice) shareGrad(v *lossGroup, scale float64) []float32 {
	if !g.needs.shares {
		return nil
	}
	g.dshare = resize(g.dshare, g.experts)
	clear(g.dshare)
	for _, l := range g.losses {
		l.term.shareGrad(g.dshare, v, scale*l.coefficient)
	}
	return g.dshare
}

// backwardDrop fills draw with the gradient with respect to the weights of token t before the drop: scaling,
// renormalisation after it, and the drop itself, taken back in turn. What faint weights ask for it adds to dlogits.
func (g *tokenChoice) backwardDrop(draw, dlogits []float32, c *choices, t int, dweights []float32) {
	a, b := t*c.k, (t+1)*c.k
	for j, entry := range c.entry[a:b] {
		draw[j] = 0
		if entry >= 0 {
			draw[j] = dweights[entry] * g.scale
		}
	}
	if g.renorm != RenormalizeAfterDrop {
		return
	}
	if !normalizeBackward(draw, c.mid[a:b]) {
		g.faintBackward(dlogits, draw, c.token(t), c.entry[a:b])
	}
	for j, entry := range c.entry[a:b] {
		if entry < 0 {
			draw[j] = 0
		}
	}
}
