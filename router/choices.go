package router

import (
	"slices"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Values of choices.entry for a choice that is not in the assignment.
const (
	dropped   = -1 // capacity dropped the choice
	withdrawn = -2 // the chooser withdrew the choice
)

// choices is the state of a batch from Route to Backward, in a gate in which tokens choose their
// experts. Its memory is used again by a later batch.
type choices struct {
	owner     *tokenChoice
	in        input
	tokens, k int     // tokens without padding
	ends      []int   // of the token groups, without padding
	real      []int32 // the row in the batch of each token, if there is padding
	logits    grid
	scores    grid      // of all experts, if the gate needs them
	logSumExp []float64 // of each token's logits, if a loss needs them

	// Choices t·k to t·k+k-1 are the k choices of token t, the best first.
	chosen []int32   // expert
	raw    []float32 // weight as the score gives it
	mid    []float32 // raw, or renormalised before the drop; 0 if dropped or withdrawn
	entry  []int32   // index in the assignment, or dropped, or withdrawn

	counts  []int     // token groups × experts: choices before drops
	firsts  []int     // token groups × experts: first choices before drops
	shares  []float64 // token groups × experts: sums of the shares
	weights []float64 // token groups × experts: sums of the weights before drops

	loads []float64 // token groups × experts, if a loss is over expected loads
	best  []int32   // memory of k+1 choices

	allCounts []int // choices of each expert in the global batch
	allTokens int   // of the global batch; -1 if not known
	runs      []run // the sequences, if a loss is over them
	runCounts []int // sequences × experts: choices before drops
	plain     []int // token groups × experts: those of the largest logits, if a loss is over them

	row     []float32 // memory of one element an expert
	view    lossGroup
	current choosing
	spent   bool // Backward has been called
}

// reset takes out the padding and makes room for k choices of each token.
func (c *choices) reset(k, experts int) {
	c.removePadding()
	c.k, c.spent = k, false
	n, cells := c.tokens*k, len(c.ends)*experts
	c.chosen, c.raw = mat.Reuse(c.chosen, n), mat.Reuse(c.raw, n)
	c.mid, c.entry = mat.Reuse(c.mid, n), mat.Reuse(c.entry, n)
	c.counts, c.firsts = mat.Reuse(c.counts, cells), mat.Reuse(c.firsts, cells)
	c.shares, c.weights = mat.Reuse(c.shares, cells), mat.Reuse(c.weights, cells)
	c.row, c.allTokens = mat.Reuse(c.row, experts), -1
	clear(c.entry)
	clear(c.counts)
	clear(c.firsts)
	clear(c.weights)
}

// choosing returns what the chooser sees of token group g. It is valid until the next call.
func (c *choices) choosing(g int) *choosing {
	begin, end := c.group(g)
	c.current = choosing{tokens: end - begin, k: c.k, experts: c.logits.cols, Batch: &c.in.Batch, c: c, begin: begin}
	return &c.current
}

// countGroup counts the choices of token group g.
func (c *choices) countGroup(g int) {
	begin, end := c.group(g)
	counts, firsts := c.countsOf(g), c.firstsOf(g)
	for t := begin; t < end; t++ {
		for j, e := range c.chosen[t*c.k : (t+1)*c.k] {
			if c.entry[t*c.k+j] == withdrawn {
				continue
			}
			counts[e]++
			if j == 0 {
				firsts[e]++
			}
		}
	}
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

// group returns the half-open range of the rows of token group g.
func (c *choices) group(g int) (begin, end int) {
	if g > 0 {
		begin = c.ends[g-1]
	}
	return begin, c.ends[g]
}

// lossGroup returns what losses see of token group g. It is valid until the next call.
func (c *choices) lossGroup(g int) *lossGroup {
	begin, end := c.group(g)
	n := c.logits.cols
	c.view = lossGroup{
		group: g, begin: begin, end: end, k: c.k, c: c,
		counts: c.countsOf(g), firsts: c.firstsOf(g),
		shares: c.shares[g*n : (g+1)*n], weights: c.weightsOf(g),
	}
	return &c.view
}

// loadsOf returns the expected load of each expert in token group g.
func (c *choices) loadsOf(g int) []float64 {
	n := c.logits.cols
	c.loads = mat.Reuse(c.loads, len(c.ends)*n)
	return c.loads[g*n : (g+1)*n]
}

// weightsOf returns the sums of the weights of each expert in token group g.
func (c *choices) weightsOf(g int) []float64 {
	n := c.logits.cols
	return c.weights[g*n : (g+1)*n]
}

// firstsOf returns the first choices of each expert in token group g.
func (c *choices) firstsOf(g int) []int {
	n := c.logits.cols
	return c.firsts[g*n : (g+1)*n]
}

// countsOf returns the choices of each expert in token group g.
func (c *choices) countsOf(g int) []int {
	n := c.logits.cols
	return c.counts[g*n : (g+1)*n]
}

// assign writes the choices that were not dropped into d, sorted by expert and then by token, each
// with its weight in weight; and the index of each into c.entry. It is a counting sort: choices are
// in token order.
func (c *choices) assign(d *Decision, weight []float32) {
	experts := c.logits.cols
	d.Ends = mat.Reuse(d.Ends, experts)
	clear(d.Ends)
	d.Dropped = 0
	for i, e := range c.chosen {
		switch c.entry[i] {
		case dropped:
			d.Dropped++
		case withdrawn:
		default:
			d.Ends[e]++
		}
	}
	kept := 0
	for e, n := range d.Ends {
		d.Ends[e] = kept
		kept += n
	}
	d.Tokens, d.Experts = c.rows(), experts
	d.Token, d.Weight = mat.Reuse(d.Token, kept), mat.Reuse(d.Weight, kept)
	for t := range c.tokens {
		row := int32(c.rowOf(t))
		for i := t * c.k; i < (t+1)*c.k; i++ {
			if c.entry[i] < 0 {
				continue
			}
			n := d.Ends[c.chosen[i]]
			d.Ends[c.chosen[i]]++
			d.Token[n], d.Weight[n], c.entry[i] = row, weight[i], int32(n)
		}
	}
}

// count fills d.Counts.
func (c *choices) count(d *Decision) {
	d.Counts = mat.Reuse(d.Counts, c.logits.cols)
	clear(d.Counts)
	for counts := range slices.Chunk(c.counts, c.logits.cols) {
		for e, n := range counts {
			d.Counts[e] += n
		}
	}
}
