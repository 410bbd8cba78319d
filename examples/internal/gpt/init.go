package gpt

import (
	"math"
	"math/rand/v2"

	"github.com/switchyard-moe/switchyard/param"
)

// embedDeviation is the standard deviation of initial embeddings: small beside the norm's unit
// rows.
const embedDeviation = 0.02

// initializer draws initial parameters in the order in which the model is built.
type initializer struct{ source *rand.Rand }

func newInitializer(seed uint64) initializer {
	const stream = 0x67707400 // keeps these draws apart from those of other users of the same seed
	return initializer{rand.New(rand.NewPCG(seed, stream))}
}

// fill draws tensor i of set from a uniform distribution with mean 0 and the given standard
// deviation. Uniform and not normal: it needs no logarithm, whose last bit differs between
// architectures.
func (in initializer) fill(set *param.Set, i int, deviation float64) {
	bound := deviation * math.Sqrt(3)
	vec := set.Of(set.Value, i)
	for j := range vec {
		vec[j] = float32(bound * (2*in.source.Float64() - 1))
	}
}

// ones sets tensor i of set to 1: a norm's gain.
func ones(set *param.Set, i int) {
	vec := set.Of(set.Value, i)
	for j := range vec {
		vec[j] = 1
	}
}

// fanIn is the standard deviation that keeps the variance of a product with n terms.
func fanIn(n int) float64 { return 1 / math.Sqrt(float64(n)) }

// residual is fanIn for a product that is added to the residual stream, which 2·layers products
// are: it grows by one unit in all.
func residual(n, layers int) float64 { return fanIn(n) / math.Sqrt(float64(2*layers)) }
