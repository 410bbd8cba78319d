package router

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// tokenChoice is the gate in which each token gets some number of experts. Its steps vary
// independently: what makes the logits, who gets which expert, how logits turn into weights, when
// those are renormalised, what capacity drops, and which losses there are. A router of this family
// is [TopK] with some of them replaced, in one file:
//
//   - [projection] computes the logits: a matrix, cosines, a matrix with noise.
//   - [chooser] chooses the experts of a token group's tokens from their logits or scores: the best
//     k of each token, within expert groups, balanced over the tokens.
//   - [scoring] gives the weights of those chosen, and the scores of all.
//   - a function of the batch's step gives k.
//
// The router's New hands them to [TopK.build] as [overrides]; TopK's fields work as they do there.
// Only the projection sees padding: the rows marked as such are taken out behind it, and their
// gradient is zero.
//
// Backward puts a decision and its state into free, for a later Route.
type tokenChoice struct {
	projection projection
	chooser    chooser
	scoring    scoring
	renorm     Renormalize
	drop       dropper
	losses     []Loss
	dim        int
	experts    int
	seed       uint64
	k          func(b *Batch) int
	capacity   Capacity
	factor     float64
	scale      float32
	epsilon    float64   // added to the sum by which weights are divided
	bias       *bias     // of the choice, or nil
	balancing  balancing // by which the bias moves, or nil
	tally      []int64
	deviation  float64 // of Gaussian noise in the logits, if it is the same in all

	needs      needs // of all losses
	needScores bool
	fast       fastPath

	free    []*Decision
	weights []float32 // of a batch's choices
	dlogits grid
	draw    []float32 // of one token's choices
	dshare  []float32 // the same for all tokens of a token group
	dtoken  []float32 // one token's shares
	tiny    []float32 // one token's weights
}

var _ Gate = (*tokenChoice)(nil)

// overrides replace steps of [TopK] for a router that is built on it. The zero value replaces
// nothing.
type overrides struct {
	name       string             // of the router, in errors
	projection projection         // in place of newLinear
	chooser    chooser            // in place of best
	scoring    scoring            // in place of what TopK.Score says
	bias       *bias              // in place of TopK.Bias, for a chooser that has it too
	balancing  balancing          // in place of what TopK.BiasRate says
	k          func(b *Batch) int // in place of TopK.K, of which it must not give more
	gaussian   bool               // whether the projection adds Gaussian noise that LoadLoss can read
	deviation  float64            // of that noise, if it is the same in all logits
	faults     []error            // found in fields that TopK does not have
}

// Params returns the parameters of the projection.
func (g *tokenChoice) Params() *param.Set { return g.projection.params() }

// Route is described at [Gate].
func (g *tokenChoice) Route(x blas32.General, b Batch) (*Decision, error) {
	checkBatch(x, b.Ends, g.dim)
	checkPadding(x, b)
	if err := g.checkSequences(x.Rows, b.Sequences); err != nil {
		return nil, err
	}
	d, c := g.take()
	c.in.set(x, b, g.seed)
	if p, ok := g.projection.(checker); ok {
		if err := p.check(&c.in); err != nil {
			g.free = append(g.free, d)
			return nil, err
		}
	}
	c.logits.reset(x.Rows, g.experts)
	g.projection.forward(c.logits.matrix(), &c.in)
	return g.finish(d, c)
}

// decide turns c's logits into the decision d.
func (g *tokenChoice) decide(d *Decision, c *choices) {
	g.score(c)
	g.choose(c)
	g.dropAll(d, c)
	c.assign(d, g.weigh(c))
	g.measure(d, c)
}

// take returns a decision and its memory.
func (g *tokenChoice) take() (*Decision, *choices) {
	n := len(g.free)
	if n == 0 {
		c := &choices{owner: g}
		return &Decision{Losses: map[string]float64{}, Saved: c}, c
	}
	d := g.free[n-1]
	g.free = g.free[:n-1]
	return d, d.Saved.(*choices)
}

// score computes the scores of all experts, not only of those chosen, if a step of the gate reads
// them.
func (g *tokenChoice) score(c *choices) {
	if g.needScores {
		c.scores.reset(c.tokens, g.experts)
		for t := range c.tokens {
			g.scoring.score(c.scores.row(t), c.logits.row(t))
		}
	}
	if g.needs.logSumExp {
		c.logSumExp = mat.Reuse(c.logSumExp, c.tokens)
		for t := range c.tokens {
			c.logSumExp[t] = softmax(c.row, c.logits.row(t))
		}
	}
}

// choose fills chosen, raw, mid and the counts.
func (g *tokenChoice) choose(c *choices) {
	for group := range c.ends {
		begin, end := c.group(group)
		if begin == end {
			continue
		}
		g.chooser.choose(c.choosing(group))
		for t := begin; t < end; t++ {
			token := c.token(t)
			g.scoring.weigh(token.raw, token)
			mid := c.mid[t*c.k : (t+1)*c.k]
			if copy(mid, token.raw); g.renorm == RenormalizeBeforeDrop {
				g.normalize(mid, c, t, nil)
			}
		}
		c.countGroup(group)
		if g.needs.weights {
			c.sumWeights(group)
		}
	}
}

// normalize divides the weights of token t by their sum. Choices that kept, if it is not nil,
// says are in no expert have none.
func (g *tokenChoice) normalize(w []float32, c *choices, t int, kept []int32) {
	if !normalize(w, w, g.epsilon) {
		tinyShares(w, g.scoring.rate(), c.token(t), kept)
	}
}

// dropAll marks in each token group the choices that capacity drops, and takes the weight of all
// that got no expert.
func (g *tokenChoice) dropAll(d *Decision, c *choices) {
	d.GroupCapacity = mat.Reuse(d.GroupCapacity, len(c.ends))
	for group := range c.ends {
		begin, end := c.group(group)
		counts := c.countsOf(group)
		room := g.room(end-begin, c, counts)
		d.GroupCapacity[group] = room
		g.drop.drop(c, group, room)
	}
	for i, entry := range c.entry {
		if entry < 0 {
			c.mid[i] = 0
		}
	}
}

// room returns the most that an expert takes of a token group's tokens, of which it was chosen by
// counts.
func (g *tokenChoice) room(tokens int, c *choices, counts []int) int {
	return g.capacity.room(g.factor, tokens, c.k, g.experts, c.in.Train, counts)
}

// weigh returns the final weight of each choice.
func (g *tokenChoice) weigh(c *choices) []float32 {
	g.weights = mat.Reuse(g.weights, len(c.mid))
	copy(g.weights, c.mid)
	if g.renorm == RenormalizeAfterDrop {
		for i := 0; i < len(g.weights); i += c.k {
			g.normalize(g.weights[i:i+c.k], c, i/c.k, c.entry[i:i+c.k])
		}
	}
	for i := range g.weights {
		g.weights[i] *= g.scale
	}
	return g.weights
}
