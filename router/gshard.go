package router

// GShard sends each token to the two experts that are best by softmax over all of them. If an
// expert is full, all first choices stand before second ones; the weights of those that took the
// token are divided by their sum. (Lepikhin et al. 2021; DeepSpeed's top-2 gate.)
type GShard struct {
	// CapacityFactor and Capacity are those of [TopK].
	CapacityFactor float64
	Capacity       Capacity
	// RandomSecond sends a token to its second expert, in training, only with the probability 2·w,
	// w being the second weight's share of both: an expert that hardly counts mostly leaves its
	// capacity to others.
	RandomSecond bool
	// NoisySecond draws the second expert, in training, in proportion to the softmax over all but
	// the first. (DeepSpeed, fairscale: Gumbel noise on the second choice.)
	NoisySecond bool
	// Losses lists the auxiliary losses. The paper's is [SwitchLoss], over first choices.
	Losses []Loss
}

var _ Router = GShard{}

// New is described at [Router].
func (r GShard) New(s Shape) (Gate, error) {
	return r.topK().build(s, overrides{name: "GShard", chooser: topTwo{r.RandomSecond, r.NoisySecond}})
}

func (r GShard) topK() TopK {
	return TopK{
		K: 2, Score: SoftmaxBefore, Renormalize: RenormalizeAfterDrop, Drop: ByChoice, Losses: r.Losses,
		CapacityFactor: r.CapacityFactor, Capacity: r.Capacity,
	}
}

// WeightSum is described at [TopK.WeightSum].
func (r GShard) WeightSum(experts int) (least, most float64) { return r.topK().WeightSum(experts) }

// Bound is described at [TopK.Bound].
func (r GShard) Bound(tokens, experts int, train bool) int {
	return r.topK().Bound(tokens, experts, train)
}

// topTwo is GShard's choice.
type topTwo struct{ random, noisy bool }

func (topTwo) forAll() bool { return true }

func (c topTwo) choose(g *choosing) {
	for i := range g.tokens {
		two := g.choices(i)
		topK(two, g.logits(i))
		if !g.Train {
			continue
		}
		if c.noisy {
			two[1] = c.second(g, i, two[0])
		}
		if c.random {
			c.withdraw(g, i)
		}
	}
}

// second returns the expert other than first with the largest noisy logit.
func (topTwo) second(g *choosing, i int, first int32) int32 {
	random, best, most := g.noise(i, noiseChoice), int32(-1), 0.0
	for e, v := range g.logits(i) {
		noisy := float64(v) + gumbel(&random)
		if int32(e) != first && (best < 0 || noisy > most) {
			best, most = int32(e), noisy
		}
	}
	return best
}

// withdraw withdraws the second choice unless 2·w exceeds a number drawn evenly from 0 to 1.
func (topTwo) withdraw(g *choosing, i int) {
	two, p := g.choices(i), g.scores(i)
	random := g.noise(i, noiseSecond)
	a, b := float64(p[two[0]]), float64(p[two[1]])
	if 2*b/(a+b) <= uniform(&random) {
		g.withdraw(i, 1)
	}
}
