package router

// measure fills the decision's counts and losses.
func (g *tokenChoice) measure(d *Decision, c *choices) {
	c.count(d)
	d.GroupLoss = resize(d.GroupLoss, len(c.ends))
	clear(d.GroupLoss)
	clear(d.Losses)
	for _, l := range g.losses {
		d.Losses[l.name] = 0
	}
	for i := range c.ends {
		v := c.lossGroup(i)
		if v.begin == v.end {
			continue
		}
		if g.needShares {
			c.sumShares(v)
		}
		for _, l := range g.losses {
			loss := l.coefficient * l.term.value(v)
			d.GroupLoss[i] += float64(loss)
			d.Losses[l.name] += float64(loss * (v.tokens() / float64(c.tokens)))
		}
	}
}

// sumShares adds up the shares of the group's tokens, in token order.
func (c *choices) sumShares(v *lossGroup) {
	for t := v.begin; t < v.end; t++ {
		scores := c.scores.row(t)
		inv := 1 / (sum(scores) + leastSum)
		for e, s := range scores {
			v.shares[e] += float64(float64(s) * inv)
		}
	}
}
