package router

import "math"

// BASE is the router of balanced assignment: in training a token group's tokens are dealt to the
// experts, one each, so that the sum of the logits is the largest possible while each expert gets
// exactly ⌊T/E⌋ or ⌈T/E⌉ of the group's T tokens. The sum is that of the best assignment there is,
// to within T·2⁻²⁰ times the largest distance of two logits of a token. In evaluation each token
// takes the expert with its largest logit, and loads are what they are. The weight is the sigmoid
// of the logit. Nothing is dropped, and no balance loss is needed.
//
// The assignment is found by auction, at a cost of E steps for each of some ten bids of a token,
// and of some hundred where many tokens are equal. In training a token's expert depends on later
// tokens of its group, so a decoder's loss sees the future. Fairseq mixes the answer and the token;
// here a residual connection is left to the caller.
//
// (Lewis et al. 2021; fairseq, which asks that E divides T and stops its auction short of the
// optimum.)
type BASE struct {
	// Scale multiplies all weights; 0 stands for 1.
	Scale float32
	// Losses lists the auxiliary losses.
	Losses []Loss
}

var _ Router = BASE{}

// New is described at [Router]. The parameters are those of [TopK].
func (r BASE) New(s Shape) (Gate, error) {
	return r.topK().build(s, overrides{name: "BASE", chooser: &auctioneer{}})
}

// topK declares the balance as a capacity, which drops nothing.
func (r BASE) topK() TopK {
	return TopK{
		K: 1, Score: Sigmoid, Scale: r.Scale, Losses: r.Losses,
		CapacityFactor: 1, Capacity: Capacity{EvalFactor: math.Inf(1)},
	}
}

// Bound is described at [TopK.Bound].
func (r BASE) Bound(tokens, experts int, train bool) int {
	return r.topK().Bound(tokens, experts, train)
}

// WeightSum is described at [TopK.WeightSum].
func (r BASE) WeightSum(experts int) (least, most float64) { return r.topK().WeightSum(experts) }

// auctioneer is the chooser of [BASE].
type auctioneer struct{ auction }

func (*auctioneer) forAll() bool { return false }

func (r *auctioneer) choose(g *choosing) {
	if !g.Train {
		best{}.choose(g)
		return
	}
	for i, e := range r.assign(g.tokens, g.experts, g.logits) {
		g.choices(i)[0] = e
	}
}
