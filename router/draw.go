package router

import (
	"math"
	"math/rand/v2"

	"github.com/switchyard-moe/switchyard/param"
)

// drawUniform fills tensor i of set uniformly from ±1/√fanIn, so that products with normalised rows
// are of order one. Uniform, because its bits are the same on every processor. stream tells apart
// what is drawn from one seed.
func drawUniform(set *param.Set, i, fanIn int, seed, stream uint64) {
	r := rand.New(rand.NewPCG(seed, stream))
	limit := 1 / math.Sqrt(float64(fanIn))
	values := set.Of(set.Value, i)
	for i := range values {
		values[i] = float32((2*r.Float64() - 1) * limit)
	}
}
