package router

import (
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Zipf draws each token's experts at random, expert e in proportion to (e+1)^−Exponent: the load
// that words put on experts that each learn some of them. It is for benchmarks. No parameters, no
// gradient, weights of 1/K. What a token draws depends on the seed, the step, its row within its
// token group and the signs of its elements, and not on the ranks.
type Zipf struct {
	// K is the number of different experts of each token, from 1 to all.
	K int
	// Exponent says how steeply popularity falls; 0 is even, 1 is the frequency of words.
	Exponent float64
}

var _ Router = Zipf{}

// New is described at [Router].
func (r Zipf) New(s Shape) (Gate, error) {
	faults := append(checkShape(s), checkK("Zipf", r.K, s.Experts)...)
	if !(r.Exponent >= 0 && r.Exponent <= 10) {
		faults = append(faults, fmt.Errorf("router: Zipf: exponent is %v, want 0 to 10", r.Exponent))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return newGiven(s, r.K, &zipf{popularity: popularities(s.Experts, r.Exponent)}), nil
}

// popularities returns (e+1)^−exponent for each expert, with the same bits everywhere.
func popularities(experts int, exponent float64) []float64 {
	logs, p := make([]float32, experts), make([]float64, experts)
	for e := range logs {
		logs[e] = float32(-exponent * ln(float64(e+1)))
	}
	f32.Exp(logs, logs)
	for e, v := range logs {
		p[e] = float64(v)
	}
	return p
}

// noiseZipf is the purpose of the random bits.
const noiseZipf uint64 = 0x5a697066

type zipf struct{ popularity []float64 }

func (z *zipf) experts(dst []int32, in *input, t, _ int) {
	random := in.noise(t, noiseZipf)
	left := 0.0
	for _, p := range z.popularity {
		left += p
	}
	for j := range dst {
		dst[j] = z.pick(uniform(&random)*left, dst[:j])
		left -= z.popularity[dst[j]]
	}
}

// pick returns the expert within whose share of the popularities of all that are not taken the
// number at lies.
func (z *zipf) pick(at float64, taken []int32) int32 {
	last := int32(0)
next:
	for e, p := range z.popularity {
		for _, other := range taken {
			if int(other) == e {
				continue next
			}
		}
		last = int32(e)
		if at < p {
			break
		}
		at -= p
	}
	return last
}
