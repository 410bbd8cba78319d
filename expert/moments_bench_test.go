package expert_test

import (
	"math/rand/v2"
	"testing"

	"github.com/switchyard-moe/switchyard/expert"
)

// BenchmarkMoments updates 1 MiB of parameters.
func BenchmarkMoments(b *testing.B) {
	const n = 1 << 18
	for m := expert.Float32Moments; m <= expert.Int4Moments; m++ {
		b.Run(m.String(), func(b *testing.B) {
			p, a := vector(make([]float32, n)...), adamWith(m)
			grad := gradient(rand.New(rand.NewPCG(1, 2)), n)
			b.SetBytes(4 * n)
			for b.Loop() {
				a.Update(p, grad)
			}
		})
	}
}
