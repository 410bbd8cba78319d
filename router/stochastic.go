package router

import (
	"errors"
	"slices"
)

// Stochastic draws each token's experts at random, all of them alike, in training and in
// evaluation: every expert sees a bit of everything, and none needs a gate. No parameters, no
// gradient, weights of 1/K. What a token draws depends on the seed, the step, its row within its
// token group and the signs of its elements, and not on the ranks. (THOR without its consistency
// loss: Zuo et al. 2022, "Taming Sparsely Activated Transformer with Stochastic Experts".)
type Stochastic struct {
	// K is the number of different experts of each token, from 1 to all.
	K int
}

var _ Router = Stochastic{}

// New is described at [Router].
func (r Stochastic) New(s Shape) (Gate, error) {
	if err := errors.Join(append(checkShape(s), checkK("Stochastic", r.K, s.Experts)...)...); err != nil {
		return nil, err
	}
	return newGiven(s, r.K, anyOf(s.Experts)), nil
}

// noiseStochastic is the purpose of the random bits.
const noiseStochastic uint64 = 0x54484f52

// anyOf draws among this many experts.
type anyOf int

// experts draws again where an expert was drawn before.
func (n anyOf) experts(dst []int32, in *input, t, _ int) {
	random := in.noise(t, noiseStochastic)
	for j := range dst {
		for {
			dst[j] = int32(uniform(&random) * float64(n))
			if !slices.Contains(dst[:j], dst[j]) {
				break
			}
		}
	}
}
