package router

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// BenchmarkTopK times a decision without the gate's product.
func BenchmarkTopK(b *testing.B) {
	const tokens = 8192
	for _, experts := range []int{8, 64, 256} {
		for _, k := range []int{1, 2, 8} {
			for score := range Score(scores) {
				b.Run(fmt.Sprintf("experts=%d/k=%d/score=%v", experts, k, score), func(b *testing.B) {
					benchmarkDecision(b, TopK{K: k, Score: score}, tokens, experts)
				})
			}
		}
	}
}

// BenchmarkTopKCapacity times a decision with all that it can have.
func BenchmarkTopKCapacity(b *testing.B) {
	for drop := range Drop(drops) {
		b.Run(fmt.Sprintf("drop=%v", drop), func(b *testing.B) {
			benchmarkDecision(b, TopK{K: 8, CapacityFactor: 1, Drop: drop, Losses: []Loss{Balance(1), ZLoss(1)}}, 8192, 64)
		})
	}
}

func benchmarkDecision(b *testing.B, config TopK, tokens, experts int) {
	r := rand.New(rand.NewPCG(1, 2))
	gate, err := config.New(Shape{Dim: 1, Experts: experts})
	require.NoError(b, err)
	g, ends := gate.(*tokenChoice), []int{tokens}
	logits := make([]float32, tokens*experts)
	for i := range logits {
		logits[i] = float32(r.NormFloat64())
	}
	b.ReportAllocs()
	for b.Loop() {
		d, c := g.take()
		c.in.set(blas32.General{}, Batch{Ends: ends, Train: true}, 0)
		c.logits.reset(tokens, experts)
		copy(c.logits.data, logits)
		if err := checkFinite(&c.logits, ends); err != nil {
			b.Fatal(err)
		}
		c.reset(g.k(&c.in.Batch), experts)
		g.decide(d, c)
		g.free = append(g.free, d)
	}
	b.ReportMetric(float64(tokens)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mtokens/s")
}
