package router

import "fmt"

// NoisyTopK is [TopK] with noise in training. In evaluation it is TopK with the same matrix.
//
// The noise of a token follows from the gate's seed, [Batch.Step], the token's row in its token
// group and the signs of its elements: it is the same on any number of ranks, and in a pass that is
// run again.
//
// (Shazeer et al. 2017.)
type NoisyTopK struct {
	TopK
	// Noise is the kind of noise.
	Noise Noise
	// Amount is its size, for all kinds but [LearnedGaussian]; 0 is none.
	Amount float32
}

var _ Router = NoisyTopK{}

// New is described at [Router].
func (r NoisyTopK) New(s Shape) (Gate, error) {
	p := overrides{name: "NoisyTopK", faults: r.noiseFaults(), gaussian: r.Noise == LearnedGaussian || r.Noise == FixedGaussian}
	if len(p.faults) == 0 && len(checkShape(s)) == 0 {
		r.addNoise(&p, s)
	}
	return r.TopK.build(s, p)
}

func (r NoisyTopK) noiseFaults() (faults []error) {
	if r.Noise < 0 || int(r.Noise) >= noises {
		faults = append(faults, fmt.Errorf("router: NoisyTopK: unknown noise %d", int(r.Noise)))
	}
	if !(r.Amount >= 0) || isInf(r.Amount) {
		faults = append(faults, fmt.Errorf("router: NoisyTopK: amount of noise is %v, want a finite number from 0", r.Amount))
	}
	if r.Noise == LearnedGaussian && r.Amount != 0 {
		faults = append(faults, fmt.Errorf("router: NoisyTopK: learned noise has no amount to be set"))
	}
	return faults
}

// addNoise replaces the steps that make the noise.
func (r NoisyTopK) addNoise(p *overrides, s Shape) {
	amount := float64(r.Amount)
	switch r.Noise {
	case LearnedGaussian:
		p.projection = newLearnedNoise(s)
	case FixedGaussian:
		p.projection, p.deviation = jitteredLogits{newLinear(s), amount, true}, amount
	case JitterLogits:
		p.projection = jitteredLogits{newLinear(s), amount, false}
	case JitterTokens:
		p.projection = jitteredTokens{newLinear(s), amount}
	case Gumbel:
		p.bias = r.newBias(s)
		p.chooser = gumbelBest{best{bias: p.bias}, amount}
	}
}

// gumbelBest is best with Gumbel noise added to the scores or logits that it compares.
type gumbelBest struct {
	best
	amount float64
}

func (b gumbelBest) choose(g *choosing) {
	if !g.Train {
		b.best.choose(g)
		return
	}
	noisy := g.scratch()
	for i := range g.tokens {
		if copy(noisy, g.logits(i)); b.bias != nil {
			b.bias.add(noisy, g.scores(i))
		}
		random := g.noise(i, noiseChoice)
		for e := range noisy {
			noisy[e] += float32(b.amount * gumbel(&random))
		}
		topK(g.choices(i), noisy)
	}
}
