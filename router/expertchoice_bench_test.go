package router

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// BenchmarkExpertChoice routes 8192 tokens of one column: the product is next to nothing.
func BenchmarkExpertChoice(b *testing.B) {
	const tokens = 8192
	r := rand.New(rand.NewPCG(1, 2))
	x := blas32.General{Rows: tokens, Cols: 1, Stride: 1, Data: make([]float32, tokens)}
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	for _, experts := range []int{8, 64, 256} {
		for _, over := range []Scope{EachGroup, WholeBatch} {
			b.Run(fmt.Sprintf("experts=%d/over=%v", experts, over), func(b *testing.B) {
				g, err := ExpertChoice{Over: over}.New(Shape{Dim: 1, Experts: experts})
				if err != nil {
					b.Fatal(err)
				}
				grad := Gradient{LossScale: make([]float32, 1), DX: blas32.General{Rows: tokens, Cols: 1, Stride: 1, Data: make([]float32, tokens)}}
				b.ReportAllocs()
				for b.Loop() {
					d, err := g.Route(x, Batch{Ends: []int{tokens}})
					if err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					grad.Weights = mat.Reuse(grad.Weights, len(d.Weight))
					_ = g.Backward(d, x, grad)
					g.Params().Grad.Reset()
					b.StartTimer()
				}
				b.ReportMetric(float64(tokens)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mtokens/s")
			})
		}
	}
}
