package router

import "slices"

// dropped stands in choices.entry for a choice that capacity dropped.
const dropped = -1

// choices is what a gate in which tokens choose their experts remembers of a batch, from Route to Backward. Its memory
// is used again by a later batch.
type choices struct {
	owner     *tokenChoice
	tokens, k int
	ends      []int
	logits    grid
	scores    grid      // of all experts, where the gate needs them
	logSumExp []float64 // of each token's logits, where a loss needs them

	// A place is one of a token's k choices: places t·k to t·k+k-1 are those of token t, the best first.
	chosen []int32   // expert
	raw    []float32 // weight as the score gives it
	mid    []float32 // raw, or renormalised before the drop; 0 where dropped
	entry  []int32   // index in the assignment, or dropped

	counts []int     // groups × experts: choices before drops
	shares []float64 // groups × experts: sums of the shares
	row    []float32 // memory of one element an expert
	view   lossGroup
	spent  bool // whether Backward has had it
}

// reset makes room for a batch of tokens that choose k experts each.
func (c *choices) reset(tokens, k, experts int, ends []int) {
	c.tokens, c.k, c.ends = tokens, k, append(c.ends[:0], ends...)
	c.spent = false
	c.logits.reset(tokens, experts)
	c.chosen, c.raw = resize(c.chosen, tokens*k), resize(c.raw, tokens*k)
	c.mid, c.entry = resize(c.mid, tokens*k), resize(c.entry, tokens*k)
	c.counts, c.shares = resize(c.counts, len(ends)*experts), resize(c.shares, len(ends)*experts)
	c.row = resize(c.row, experts)
	clear(c.entry)
	clear(c.counts)
	clear(c.shares)
}

// token returns what is known of token t.
func (c *choices) token(t int) token {
	a, b := t*c.k, (t+1)*c.k
	k := token{logits: c.logits.row(t), chosen: c.chosen[a:b], raw: c.raw[a:b], scratch: c.row}
	if len(c.scores.data) != 0 {
		k.scores = c.scores.row(t)
	}
	return k
}

// group returns the half-open range of the rows of group g.
func (c *choices) group(g int) (begin, end int) {
	if g > 0 {
		begin = c.ends[g-1]
	}
	return begin, c.ends[g]
}

// lossGroup returns what losses see of group g. It is valid until the next call.
func (c *choices) lossGroup(g int) *lossGroup {
	begin, end := c.group(g)
	n := c.logits.cols
	c.view = lossGroup{
		begin: begin, end: end, k: c.k,
		counts: c.countsOf(g), shares: c.shares[g*n : (g+1)*n],
		logits: &c.logits, logSumExp: c.logSumExp, scratch: c.row,
	}
	return &c.view
}

// countsOf returns the choices of each expert in group g.
func (c *choices) countsOf(g int) []int {
	n := c.logits.cols
	return c.counts[g*n : (g+1)*n]
}

// assign writes the places that were not dropped into d, sorted by expert and then by token, each with its weight
// in weight; and the index of each into c.entry. It is a counting sort: places are in token order.
func (c *choices) assign(d *Decision, weight []float32) {
	experts := c.logits.cols
	d.Ends = resize(d.Ends, experts)
	clear(d.Ends)
	for i, e := range c.chosen {
		if c.entry[i] != dropped {
			d.Ends[e]++
		}
	}
	kept := 0
	for e, n := range d.Ends {
		d.Ends[e] = kept
		kept += n
	}
	d.Tokens, d.Experts, d.Dropped = c.tokens, experts, len(c.chosen)-kept
	d.Token, d.Weight = resize(d.Token, kept), resize(d.Weight, kept)
	for t := range d.Tokens {
		for i := t * c.k; i < (t+1)*c.k; i++ {
			if c.entry[i] == dropped {
				continue
			}
			n := d.Ends[c.chosen[i]]
			d.Ends[c.chosen[i]]++
			d.Token[n], d.Weight[n], c.entry[i] = int32(t), weight[i], int32(n)
		}
	}
}

// count fills d.Counts.
func (c *choices) count(d *Decision) {
	d.Counts = resize(d.Counts, c.logits.cols)
	clear(d.Counts)
	for counts := range slices.Chunk(c.counts, c.logits.cols) {
		for e, n := range counts {
			d.Counts[e] += n
		}
	}
}
