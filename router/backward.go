package router

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// Backward is described at [Gate]. The gate uses the decision's memory for a later one. It returns
// no error.
func (g *tokenChoice) Backward(d *Decision, x blas32.General, grad Gradient) error {
	c := g.own(d)
	checkGradient(d, x, grad)
	if set := g.Params(); grad.Losses != nil && set != nil {
		own := set.Grad
		set.Grad = grad.Losses.Grad
		g.backwardOf(c, x, grad, source{losses: true})
		set.Grad = own
		g.backwardOf(c, x, grad, source{weights: true})
	} else {
		g.backwardOf(c, x, grad, source{weights: true, losses: true})
	}
	if g.balancing != nil {
		g.balancing.add(g.tally, c)
	}
	c.in.x, c.in.Features = blas32.General{}, blas32.General{}
	c.spent = true
	g.free = append(g.free, d)
	return nil
}

// source says where the gradient of logits comes from: that of the weights, that of the losses, or
// both.
type source struct{ weights, losses bool }

// backwardOf takes the gradient of the weights, that of the losses, or both back to the tokens and
// the parameters.
func (g *tokenChoice) backwardOf(c *choices, x blas32.General, grad Gradient, from source) {
	g.dlogits.reset(c.tokens, g.experts)
	clear(g.dlogits.data)
	for i := range c.ends {
		g.backwardGroup(i, c, grad, from)
	}
	c.spread(&g.dlogits)
	c.in.setTokens(x)
	g.projection.backward(grad.DX, g.dlogits.matrix(), &c.in, grad.FirstLeaf)
}

// backwardGroup fills dlogits for the tokens of one token group.
func (g *tokenChoice) backwardGroup(group int, c *choices, grad Gradient, from source) {
	v := c.lossGroup(group)
	if v.begin == v.end {
		return
	}
	scale, losses := float64(grad.LossScale[group]), g.losses
	if !from.losses {
		losses = nil
	}
	dshare := g.shareGrad(v, losses, scale)
	g.draw = mat.Reuse(g.draw, c.k)
	for t := v.begin; t < v.end; t++ {
		d := tokenGrad{shares: dshare, logits: g.dlogits.row(t), weights: g.draw}
		if g.needs.tokenShares {
			d.shares = append(g.dtoken[:0], dshare...)
			g.dtoken = d.shares
		}
		clear(d.weights)
		if from.weights {
			g.backwardDrop(d.weights, d.logits, c, t, grad.Weights)
		}
		for _, l := range losses {
			l.term.tokenGrad(d, v, t, scale*l.coefficient)
		}
		if g.renorm == RenormalizeBeforeDrop && !normalizeBackward(d.weights, c.raw[t*c.k:(t+1)*c.k], g.epsilon) {
			g.tinyBackward(d.logits, d.weights, c.token(t), nil)
		}
		g.scoring.backward(d.logits, d.weights, d.shares, c.token(t))
	}
}

// shareGrad returns the gradient of the token group's losses with respect to each token's shares,
// or nil if no loss reads them.
func (g *tokenChoice) shareGrad(v *lossGroup, losses []Loss, scale float64) []float32 {
	if !g.needs.shares {
		return nil
	}
	g.dshare = mat.Reuse(g.dshare, g.experts)
	clear(g.dshare)
	for _, l := range losses {
		l.term.shareGrad(g.dshare, v, scale*l.coefficient)
	}
	return g.dshare
}

// backwardDrop fills draw with the gradient with respect to the weights of token t before the drop:
// the backward passes of scaling, of renormalisation after the drop, and of the drop itself. It
// adds the gradient of weights with a tiny sum directly to dlogits.
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
	if !normalizeBackward(draw, c.mid[a:b], g.epsilon) {
		g.tinyBackward(dlogits, draw, c.token(t), c.entry[a:b])
	}
	for j, entry := range c.entry[a:b] {
		if entry < 0 {
			draw[j] = 0
		}
	}
}

// LossParams is described at [LossSplitter].
func (g *tokenChoice) LossParams() *param.Set {
	if len(g.losses) == 0 {
		return nil
	}
	return likeParams(g.Params())
}

// likeParams returns a set with the tensors of another, or nil for none.
func likeParams(p *param.Set) *param.Set {
	if p == nil {
		return nil
	}
	return param.NewSet(p.Tensors()...)
}
