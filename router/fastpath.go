package router

import (
	"math"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Most gates need only each token's best experts and their weights: no bias, and no loss that reads
// all scores. The fast path of these gates reads the logits once, in runs of rows that stay in the
// first-level cache, with kernels for many rows at a time, and does not store the scores of all
// experts. The results have the bits of the general path.

// fastRun is the number of logits of a run: what a first-level cache holds.
const fastRun = 8192

// fastPath holds memory of the fast path.
type fastPath struct{ scratch, top, sum []float32 }

// plain tells whether a gate can use the fast path.
func (g *tokenChoice) plain() bool {
	b, ok := g.chooser.(best)
	_, before := g.scoring.(softmaxBefore)
	return ok && b.bias == nil && g.needs == needs{} && (before || !g.needScores)
}

// chooseFast does what score and choose do. It is false if some logit is not finite.
func (g *tokenChoice) chooseFast(c *choices) bool {
	c.scores.reset(0, g.experts) // made up for by allScores
	run := max(fastRun/g.experts, 1)
	for begin := 0; begin < c.tokens; begin += run {
		end := min(begin+run, c.tokens)
		if !f32.Finite(c.logits.data[begin*g.experts : end*g.experts]) {
			return false
		}
		g.chooseRun(c, begin, end)
	}
	copy(c.mid, c.raw)
	for i := 0; g.renorm == RenormalizeBeforeDrop && i < len(c.mid); i += c.k {
		g.normalize(c.mid[i:i+c.k], c, i/c.k, nil)
	}
	for group := range c.ends {
		c.countGroup(group)
	}
	return true
}

// chooseRun fills chosen and raw for tokens [begin, end).
func (g *tokenChoice) chooseRun(c *choices, begin, end int) {
	q := &g.fast
	q.scratch = mat.Reuse(q.scratch, max(g.experts, 16))
	logits := c.logits.data[begin*g.experts : end*g.experts]
	f32.TopRows(c.chosen[begin*c.k:end*c.k], logits, g.experts, c.k, q.scratch)
	if _, before := g.scoring.(softmaxBefore); before {
		q.softmax(c.raw[begin*c.k:end*c.k], c.chosen[begin*c.k:end*c.k], logits, g.experts, c.k)
		return
	}
	for t := begin; t < end; t++ {
		token := c.token(t)
		g.scoring.weigh(token.raw, token)
	}
}

// softmax fills raw with the chosen experts' shares of the softmax over all; of each row the first
// one chosen is the largest.
func (q *fastPath) softmax(raw []float32, chosen []int32, logits []float32, experts, k int) {
	rows := len(raw) / k
	q.top, q.sum = mat.Reuse(q.top, rows), mat.Reuse(q.sum, rows)
	for r := range q.top {
		row, c, w := logits[r*experts:(r+1)*experts], chosen[r*k:(r+1)*k], raw[r*k:(r+1)*k]
		top := row[c[0]]
		q.top[r] = top
		for j, e := range c {
			w[j] = row[e] - top
		}
	}
	f32.SumExpRows(q.sum, logits, q.top, experts)
	f32.Exp(raw, raw)
	for r, sum := range q.sum {
		inv, w := 1/sum, raw[r*k:(r+1)*k]
		for j := range w {
			w[j] *= inv
		}
	}
}

// unbounded tells whether no expert's capacity has a bound in any token group, and notes it in the
// decision.
func (g *tokenChoice) unbounded(d *Decision, c *choices) bool {
	d.GroupCapacity = mat.Reuse(d.GroupCapacity, len(c.ends))
	free := true
	for group := range c.ends {
		begin, end := c.group(group)
		d.GroupCapacity[group] = g.room(end-begin, c, c.countsOf(group))
		free = free && d.GroupCapacity[group] == math.MaxInt
	}
	return free
}

// unscaled is weigh if nothing was dropped, without a copy if there is nothing to do.
func (g *tokenChoice) unscaled(c *choices) []float32 {
	if g.scale == 1 && g.renorm != RenormalizeAfterDrop {
		return c.mid
	}
	return g.weigh(c)
}

// assignAll is assign if every choice is in the assignment: the counts say where each expert's
// entries begin.
func (c *choices) assignAll(d *Decision, weight []float32) {
	c.count(d)
	n := len(c.chosen)
	d.Tokens, d.Experts, d.Dropped = c.tokens, c.logits.cols, 0
	d.Ends, d.Token, d.Weight = mat.Reuse(d.Ends, d.Experts), mat.Reuse(d.Token, n), mat.Reuse(d.Weight, n)
	begin := 0
	for e, n := range d.Counts {
		d.Ends[e] = begin
		begin += n
	}
	ends, token, to := d.Ends, d.Token, d.Weight
	for t, i := int32(0), 0; i < n; t++ {
		chosen, from, entry := c.chosen[i:i+c.k], weight[i:i+c.k], c.entry[i:i+c.k]
		for j, e := range chosen {
			at := ends[e]
			ends[e] = at + 1
			token[at], to[at], entry[j] = t, from[j], int32(at)
		}
		i += c.k
	}
}

// allScores computes the scores that the fast path left out, if Backward reads them.
func (g *tokenChoice) allScores(c *choices) {
	if g.needScores && len(c.scores.data) == 0 {
		g.score(c)
	}
}
