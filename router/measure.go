package router

import "github.com/switchyard-moe/switchyard/internal/mat"

// measure fills the decision's counts and losses.
func (g *tokenChoice) measure(d *Decision, c *choices) {
	c.count(d)
	if g.needs.global && c.allTokens < 0 {
		c.allCounts, c.allTokens = append(c.allCounts[:0], d.Counts...), c.tokens
	}
	d.GroupLoss = mat.Reuse(d.GroupLoss, len(c.ends))
	clear(d.GroupLoss)
	clear(d.Losses)
	c.runs, c.runCounts = c.runs[:0], c.runCounts[:0]
	for _, l := range g.losses {
		d.Losses[l.name] = 0
	}
	for i := range c.ends {
		v := c.lossGroup(i)
		if v.begin == v.end {
			continue
		}
		if g.needs.shares {
			c.sumShares(v)
		}
		for _, l := range g.losses {
			loss := l.coefficient * l.term.value(v)
			d.GroupLoss[i] += float64(loss)
			d.Losses[l.name] += float64(loss * (v.tokens() / float64(c.tokens)))
		}
	}
}

// sumShares adds up the shares of the token group's tokens, in token order.
func (c *choices) sumShares(v *lossGroup) {
	clear(v.shares)
	for t := v.begin; t < v.end; t++ {
		scores, inv := sharesOf(c.owner.scoring, c.scores.row(t), c.logits.row(t), c.row)
		for e, s := range scores {
			v.shares[e] += float64(float64(s) * inv)
		}
	}
}

// sumWeights adds up the weights before drops of the token group's tokens, in token order.
func (c *choices) sumWeights(group int) {
	begin, end := c.group(group)
	sums := c.weightsOf(group)
	for i := begin * c.k; i < end*c.k; i++ {
		if c.entry[i] != withdrawn {
			sums[c.chosen[i]] += float64(c.mid[i])
		}
	}
}
