package router

import "math/rand/v2"

// chooser is the rule by which the tokens of a group get their experts.
type chooser interface {
	// choose fills the places of each of the group's tokens, of which there is at least one. A
	// token's experts are all different, the best first: its first place is what losses and drop
	// rules take for its first choice. A place may be withdrawn. What one group gets depends on
	// nothing outside it.
	choose(g *choosing)
	// forAll tells whether choose reads scores.
	forAll() bool
}

// choosing is one group on its way to its experts. Tokens are numbered within the group, without
// padding.
type choosing struct {
	tokens, k, experts int
	*Batch             // of which Ends, Padding, IDs and Features go by the batch's rows

	c     *choices
	begin int
}

// logits returns the logits of token i for all experts. They must not be changed.
func (g *choosing) logits(i int) []float32 { return g.c.logits.row(g.begin + i) }

// scores returns the scores of token i for all experts, if the chooser or another part reads them.
// They must not be changed.
func (g *choosing) scores(i int) []float32 { return g.c.scores.row(g.begin + i) }

// places returns the experts of token i, to be filled.
func (g *choosing) places(i int) []int32 {
	a := (g.begin + i) * g.k
	return g.c.chosen[a : a+g.k]
}

// withdraw empties place j of token i, which must hold an expert all the same: its weight is as if
// the expert had dropped the token, but nobody counts it as chosen nor as dropped.
func (g *choosing) withdraw(i, j int) { g.c.entry[(g.begin+i)*g.k+j] = withdrawn }

// row returns the row of token i in the batch.
func (g *choosing) row(i int) int { return g.c.rowOf(g.begin + i) }

// scratch returns memory of one element an expert, of any value, the same in every call.
func (g *choosing) scratch() []float32 { return g.c.row }

// noise returns random bits of the token's own, described at [input.noise].
func (g *choosing) noise(i int, purpose uint64) rand.PCG { return g.c.in.noise(g.row(i), purpose) }

// best is the rule of [TopK]: each token gets the k experts with the largest logits. With a bias it
// goes by the biased scores, otherwise by the logits, which tell apart even scores that have been
// rounded alike.
type best struct{ bias *bias }

func (b best) forAll() bool { return b.bias != nil }

func (b best) choose(g *choosing) {
	for i := range g.tokens {
		if b.bias == nil {
			topK(g.places(i), g.logits(i))
			continue
		}
		topK(g.places(i), b.bias.add(g.scratch(), g.scores(i)))
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
