package expert

import (
	"math"
	"math/rand/v2"

	"github.com/switchyard-moe/switchyard/param"
)

// initialize fills one expert's slice of a weight tensor with uniform numbers of mean 0 and
// variance 1/fanIn, so that a product keeps the variance of its input. They depend on the seed, the
// expert's number in the layer and the tensor's number alone, and are the same on every machine:
// unlike a normal variate, a uniform one needs no function whose last bit differs between
// processors.
func initialize(w []float32, seed uint64, expert, tensor, fanIn int) {
	src := rand.New(rand.NewPCG(seed, uint64(expert)<<16|uint64(tensor)))
	bound := float32(math.Sqrt(3 / float64(fanIn)))
	for i := range w {
		w[i] = bound * (float32(2*src.Float32()) - 1)
	}
}

// initTensor initialises every expert's matrix of tensor t, whose products run over its rows.
func initTensor(p *param.Set, s Shape, t int) {
	for e := range s.Count {
		w := p.Slice(p.Value, t, e)
		initialize(w.Data, s.Seed, s.First+e, t, w.Rows)
	}
}
