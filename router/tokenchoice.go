package router

import (
	"gonum.org/v1/gonum/blas/blas32"
)

// tokenChoice is the gate in which each token chooses its experts. Its parts vary by themselves: what makes the
// logits, how they turn into weights, when those are renormalised, what capacity drops, and which losses there are.
//
// A decision returns to free in Backward with all that it remembers, for a later Route to use.
type tokenChoice struct {
	projection projection
	scoring    scoring
	renorm     Renormalize
	drop       dropper
	losses     []Loss
	dim        int
	experts    int
	k          int
	factor     float64 // of capacity, 0 for no bound
	scale      float32
	bias       []float32 // of the choice, or nil

	needScores, needShares, needLogSumExp bool

	free    []*Decision
	weights []float32 // a batch's places
	dlogits grid
	draw    []float32 // one token's places
	dshare  []float32 // the same for all tokens of a group
}

var _ Gate = (*tokenChoice)(nil)

// Params returns the parameters of the projection.
func (g *tokenChoice) Params() *Params { return g.projection.params() }

// Route is described at [Gate].
func (g *tokenChoice) Route(x blas32.General, ends []int, _ bool) (*Decision, error) {
	checkBatch(x, ends, g.dim)
	d, c := g.take()
	c.reset(x.Rows, g.k, g.experts, ends)
	g.projection.forward(c.logits.matrix(), x)
	if err := g.decide(d, c); err != nil {
		g.free = append(g.free, d)
		return nil, err
	}
	return d, nil
}

// decide turns c's logits into the decision d.
func (g *tokenChoice) decide(d *Decision, c *choices) error {
	if err := checkFinite(&c.logits, c.ends); err != nil {
		return err
	}
	g.score(c)
	g.choose(c)
	g.dropAll(c)
	c.assign(d, g.weigh(c))
	g.measure(d, c)
	return nil
}

// take returns a decision and its memory.
func (g *tokenChoice) take() (*Decision, *choices) {
	n := len(g.free)
	if n == 0 {
		c := &choices{owner: g}
		return &Decision{Losses: map[string]float64{}, saved: c}, c
	}
	d := g.free[n-1]
	g.free = g.free[:n-1]
	return d, d.saved.(*choices)
}

// score computes what some part of the gate wants to know of all experts, not only of those chosen.
func (g *tokenChoice) score(c *choices) {
	if g.needScores {
		c.scores.reset(c.tokens, g.experts)
		for t := range c.tokens {
			g.scoring.score(c.scores.row(t), c.logits.row(t))
		}
	}
	if g.needLogSumExp {
		c.logSumExp = resize(c.logSumExp, c.tokens)
		for t := range c.tokens {
			c.logSumExp[t] = softmax(c.row, c.logits.row(t))
		}
	}
}

// choose fills chosen, raw, mid and counts.
func (g *tokenChoice) choose(c *choices) {
	for group := range c.ends {
		counts := c.countsOf(group)
		begin, end := c.group(group)
		for t := begin; t < end; t++ {
			token := c.token(t)
			topK(token.chosen, g.selection(token))
			g.scoring.weigh(token.raw, token)
			mid := c.mid[t*c.k : (t+1)*c.k]
			if copy(mid, token.raw); g.renorm == RenormalizeBeforeDrop {
				normalize(mid, mid)
			}
			for _, e := range token.chosen {
				counts[e]++
			}
		}
	}
}

// selection returns what a token's choice goes by: the logits, which tell apart even scores that have been rounded
// alike, or the scores where a bias is added to them.
func (g *tokenChoice) selection(t token) []float32 {
	if g.bias == nil {
		return t.logits
	}
	for e, s := range t.scores {
		t.scratch[e] = s + g.bias[e]
	}
	return t.scratch
}

// dropAll marks in each group the places that capacity drops.
func (g *tokenChoice) dropAll(c *choices) {
	if g.factor == 0 {
		return
	}
	for group := range c.ends {
		begin, end := c.group(group)
		a, b := begin*c.k, end*c.k
		g.drop.drop(c.entry[a:b], c.chosen[a:b], c.mid[a:b], c.countsOf(group), capacity(end-begin, c.k, g.experts, g.factor))
	}
	for i, entry := range c.entry {
		if entry == dropped {
			c.mid[i] = 0
		}
	}
}

// weigh returns the final weight of each place.
func (g *tokenChoice) weigh(c *choices) []float32 {
	g.weights = resize(g.weights, len(c.mid))
	copy(g.weights, c.mid)
	if g.renorm == RenormalizeAfterDrop {
		for i := 0; i < len(g.weights); i += c.k {
			normalize(g.weights[i:i+c.k], g.weights[i:i+c.k])
		}
	}
	for i := range g.weights {
		g.weights[i] *= g.scale
	}
	return g.weights
}
