package router

import "math/rand/v2"

// chooser is the rule that chooses the experts of the tokens of a token group.
type chooser interface {
	// choose fills the choices of each of the token group's tokens, of which there is at least one. A
	// token's experts are all different, the best first: losses and drop rules take the first one
	// for its first choice. A choice may be withdrawn. The choices of a group depend on nothing
	// outside it.
	choose(g *choosing)
	// forAll tells whether choose reads scores.
	forAll() bool
}

// choosing is what a chooser sees of one token group. Tokens are numbered within the group, without
// padding.
type choosing struct {
	tokens, k, experts int
	*Batch             // Ends, Padding, IDs and Features are indexed by the batch's rows

	c     *choices
	begin int
}

// logits returns the logits of token i for all experts. They must not be changed.
func (g *choosing) logits(i int) []float32 { return g.c.logits.row(g.begin + i) }

// scores returns the scores of token i for all experts, if the chooser or a loss reads them.
// They must not be changed.
func (g *choosing) scores(i int) []float32 { return g.c.scores.row(g.begin + i) }

// choices returns the k choices of token i, for the chooser to fill.
func (g *choosing) choices(i int) []int32 {
	a := (g.begin + i) * g.k
	return g.c.chosen[a : a+g.k]
}

// withdraw withdraws choice j of token i, which must still hold an expert: its weight is as if the
// expert had dropped the token, but it counts neither as chosen nor as dropped.
func (g *choosing) withdraw(i, j int) { g.c.entry[(g.begin+i)*g.k+j] = withdrawn }

// row returns the row of token i in the batch.
func (g *choosing) row(i int) int { return g.c.rowOf(g.begin + i) }

// scratch returns memory of one element an expert, of any value, the same in every call.
func (g *choosing) scratch() []float32 { return g.c.row }

// noise returns random bits of the token's own, described at [input.noise].
func (g *choosing) noise(i int, purpose uint64) rand.PCG { return g.c.in.noise(g.row(i), purpose) }

// best is the rule of [TopK]: each token gets the k experts with the largest logits. With a bias it
// compares the biased scores, otherwise the logits, which differ even if the scores have been
// rounded to the same number.
type best struct {
	bias   *bias
	logits bool // whether the bias is that of logits
}

func (b best) forAll() bool { return b.bias != nil && !b.logits }

func (b best) choose(g *choosing) {
	for i := range g.tokens {
		if b.bias == nil {
			topK(g.choices(i), g.logits(i))
			continue
		}
		scores := g.logits(i)
		if !b.logits {
			scores = g.scores(i)
		}
		topK(g.choices(i), b.bias.add(g.scratch(), scores))
	}
}

// bias is what is added to scores for the choice alone.
type bias struct{ value []float32 }

// add fills dst with the biased scores and returns it.
func (b *bias) add(dst, scores []float32) []float32 {
	for e, s := range scores {
		dst[e] = s + b.value[e]
	}
	return dst
}
