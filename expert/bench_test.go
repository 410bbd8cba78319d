package expert_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/switchyard-moe/switchyard/expert"
)

// BenchmarkStep measures a forward and a backward pass of four experts, each of 128 rows in 8
// leaves, on one core, and reports the rate of the multiplications and additions in the products
// alone.
func BenchmarkStep(b *testing.B) {
	const dim, hidden, experts, each, leaves = 256, 704, 4, 128, 8
	for _, c := range []struct {
		name     string
		kind     expert.Expert
		products int
	}{
		{"ffn", expert.FFN{Hidden: hidden, Activation: expert.GELU, Workers: 1}, 2},
		{"swiglu", expert.SwiGLU{Hidden: hidden, Workers: 1}, 3},
	} {
		b.Run(fmt.Sprintf("%s/dim=%d/hidden=%d/experts=%d/rows=%d/leaves=%d", c.name, dim, hidden, experts, each, leaves), func(b *testing.B) {
			g := build(b, c.kind, expert.Shape{Dim: dim, Count: experts})
			r := rand.New(rand.NewPCG(1, 2))
			x, dy := random(r, experts*each, dim), random(r, experts*each, dim)
			rows := expert.Rows{Experts: experts, Leaves: leaves}
			for i := range experts * leaves {
				rows.Ends = append(rows.Ends, (i+1)*each/leaves)
			}
			b.ReportAllocs()
			for b.Loop() {
				_, saved := g.Forward(x, rows)
				g.Backward(saved, dy)
				g.Params().Grad.Reset()
			}
			flop := 3 * 2 * float64(c.products) * float64(experts*each*dim*hidden) * float64(b.N)
			b.ReportMetric(flop/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

func BenchmarkAdam(b *testing.B) {
	p := vector(make([]float32, 1<<20)...)
	grad := make([]float32, len(p.Value))
	a := expert.NewAdam(1e-3)
	for b.Loop() {
		a.Update(p, grad)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(grad)), "ns/elem")
}
