package workload

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

const (
	sampleTokens = 2048 // by which a width is judged
	maxWidth     = 20.
)

// lognormal returns the logarithms of popularities: normal numbers of the width at which the
// busiest rank gets l.Skew times the mean, to within the noise of a sample of tokens. The width is
// found by bisection.
func (l *Load) lognormal() ([]float64, error) {
	random := rand.New(rand.NewPCG(11, uint64(l.Experts)))
	normal, scaled := make([]float64, l.Experts), make([]float64, l.Experts)
	for e := range normal {
		normal[e] = random.NormFloat64()
	}
	skewOf := func(width float64) float64 {
		for e := range scaled {
			scaled[e] = width * normal[e]
		}
		return l.skew(scaled)
	}
	low, high := 0., maxWidth
	if least, most := skewOf(low), skewOf(high); l.Skew < 1 || l.Skew > most {
		return nil, fmt.Errorf("a lognormal load of %d experts on %d ranks has %.2f to %.2f times the mean on the busiest rank, not %v",
			l.Experts, l.Ranks, least, most, l.Skew)
	}
	for range 20 {
		if middle := (low + high) / 2; skewOf(middle) < l.Skew {
			low = middle
		} else {
			high = middle
		}
	}
	skewOf((low + high) / 2)
	return scaled, nil
}

// skew is the rows of the busiest rank as a multiple of the mean, by a sample of tokens.
func (l *Load) skew(popularity []float64) float64 {
	random, rows := l.random(0, -1), make([]float64, l.Ranks)
	for range sampleTokens {
		for _, e := range mostPopular(popularity, l.K, random) {
			rows[home(int(e), l.Experts, l.Ranks)]++
		}
	}
	return slices.Max(rows) * float64(l.Ranks) / float64(sampleTokens*l.K)
}

// home is the rank of an expert, as alltoall.Even places it.
func home(e, experts, ranks int) int { return ((e+1)*ranks - 1) / experts }
