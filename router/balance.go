package router

import "github.com/switchyard-moe/switchyard/internal/mat"

// Balance is the loss that balances the experts' loads: E/(k·T²) · Σₑ nₑ·Pₑ for T tokens that
// choose k of E experts, nₑ the number of those that chose expert e, Pₑ the sum of their scores for
// it. Scores are the softmax over all experts, or with [Sigmoid] the sigmoids divided by their sum.
// It is 1 if the load is even, and its gradient holds the counts constant. Its name is "balance".
// (Fedus et al. 2021 for k = 1; Megatron and DeepSpeed for any k.) The only option is [CountPlain].
func Balance(coefficient float64, options ...Counting) Loss {
	o, ok := join(options, CountPlain)
	if !ok {
		return Loss{name: "balance"}
	}
	return Loss{"balance", coefficient, balance{o&CountPlain != 0}}
}

// SwitchLoss is [Balance] over first choices: E/T² · Σₑ fₑ·Pₑ, fₑ the number of tokens whose first
// choice expert e is. Its name is "switch". (GShard; Fedus et al. 2021; DeepSpeed's top-1 and top-2
// gates, Tutel, FastMoE.)
func SwitchLoss(coefficient float64) Loss { return Loss{"switch", coefficient, firstChoice{}} }

// GlobalBalance is [Balance] with the counts of the whole global batch and the scores of the token
// group: E/(k·N·T) · Σₑ nₑ·Pₑ, nₑ of all N tokens. So single groups may specialise as long as the
// batch is even. The counts come from [GlobalCounter]; before they do, those of this rank's batch
// stand in. A layer counts the tokens of all ranks, in this backward pass and those of the same
// step before it, as the published losses do; what later passes choose it cannot know, so a step of
// several passes has not quite the gradient of one. With passes in flight those before it are the
// ones that had been forwarded when this one was made, on every rank: if it is made while others
// run, chance has a part in which these are. Its name is "global". (Megatron's global_aux_loss; Qiu
// et al. 2025.)
func GlobalBalance(coefficient float64) Loss { return Loss{"global", coefficient, global{}} }

// GlobalCounter is a gate that can have losses over the counts of the whole global batch.
type GlobalCounter interface {
	Gate
	// WantsCounts tells whether it has such losses. If not, SetCounts need not be called.
	WantsCounts() bool
	// SetCounts gives the gate, between Route and Backward, the number of tokens of the global batch
	// without padding, and how many of them chose each expert: the sum of all ranks' Counts, to
	// which the caller may add those of earlier batches of the same step. The gate computes the
	// decision's losses again.
	SetCounts(d *Decision, counts []int, tokens int)
}

var _ GlobalCounter = (*tokenChoice)(nil)

// WantsCounts is described at [GlobalCounter].
func (g *tokenChoice) WantsCounts() bool { return g.needs.global }

// SetCounts is described at [GlobalCounter].
func (g *tokenChoice) SetCounts(d *Decision, counts []int, tokens int) {
	c := g.own(d)
	c.allCounts, c.allTokens = append(c.allCounts[:0], counts...), tokens
	g.measure(d, c)
}

// evenness is Σₑ nₑ·Pₑ.
func evenness(counts []int, shares []float64) float64 {
	s := 0.0
	for e, n := range counts {
		s += float64(float64(n) * shares[e])
	}
	return s
}

// addCounts adds f times the counts to d.
func addCounts(d []float32, counts []int, f float64) {
	for e, n := range counts {
		d[e] += float32(f * float64(n))
	}
}

type balance struct{ plain bool }

func (balance) needs() needs { return needs{shares: true} }

// counts returns those of a token group.
func (b balance) counts(g *lossGroup) []int {
	if b.plain {
		return g.c.plainCounts(g)
	}
	return g.counts
}

// factor is E/(k·T²).
func (balance) factor(g *lossGroup) float64 {
	return g.experts() / (float64(g.k) * g.tokens() * g.tokens())
}

func (b balance) value(g *lossGroup) float64 {
	if c := g.c; b.plain {
		c.plain = mat.Reuse(c.plain, len(c.ends)*len(g.counts))
		c.countPlain(c.plainCounts(g), g.begin, g.end)
	}
	return b.factor(g) * evenness(b.counts(g), g.shares)
}

func (b balance) shareGrad(d []float32, g *lossGroup, scale float64) {
	addCounts(d, b.counts(g), scale*b.factor(g))
}

func (balance) tokenGrad(tokenGrad, *lossGroup, int, float64) {}

type firstChoice struct{}

func (firstChoice) needs() needs { return needs{shares: true} }

func (firstChoice) factor(g *lossGroup) float64 { return g.experts() / (g.tokens() * g.tokens()) }

func (f firstChoice) value(g *lossGroup) float64 { return f.factor(g) * evenness(g.firsts, g.shares) }

func (f firstChoice) shareGrad(d []float32, g *lossGroup, scale float64) {
	addCounts(d, g.firsts, scale*f.factor(g))
}

func (firstChoice) tokenGrad(tokenGrad, *lossGroup, int, float64) {}

type global struct{}

func (global) needs() needs { return needs{shares: true, global: true} }

func (global) factor(g *lossGroup) float64 {
	return g.experts() / (float64(g.k) * float64(max(g.c.allTokens, 1)) * g.tokens())
}

func (b global) value(g *lossGroup) float64 { return b.factor(g) * evenness(g.c.allCounts, g.shares) }

func (b global) shareGrad(d []float32, g *lossGroup, scale float64) {
	addCounts(d, g.c.allCounts, scale*b.factor(g))
}

func (global) tokenGrad(tokenGrad, *lossGroup, int, float64) {}
