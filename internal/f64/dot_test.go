package f64

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/cpu"
)

// slow is the sum of products that the package promises, in words.
func slow(x, y []float64) float64 {
	var sums [4]float64
	for i := range x {
		product := x[i] * y[i]
		sums[i%4] += product
	}
	return (sums[0] + sums[1]) + (sums[2] + sums[3])
}

func random(r *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = math.Ldexp(r.NormFloat64(), r.IntN(40)-20)
	}
	return x
}

// TestBits of all ways to add up products are those of the slow one, at every length and place in
// memory.
func TestBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, features := range []cpu.Features{0, math.MaxUint32} {
		undo := cpu.Limit(features)
		for n := range 70 {
			at := r.IntN(4)
			x := random(r, n+at)[at:]
			var y [4][]float64
			for i := range y {
				y[i] = random(r, n+at+1)[at:]
			}
			require.Equal(t, slow(x, y[0][:n]), Dot(x, y[0]), "%d elements", n)
			sums := [4]Lanes{{1, 2, 3, 4}}
			done := Dots(&sums, x, &y)
			require.Equal(t, n/4*4, done)
			for i := range y {
				require.Equal(t, slow(x, y[i][:n]), sums[i].Close(x[done:], y[i][done:]), "%d elements", n)
			}
		}
		undo()
	}
}

func BenchmarkDots(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	x := random(r, 100)
	y := [4][]float64{random(r, 100), random(r, 100), random(r, 100), random(r, 100)}
	var sums [4]Lanes
	for b.Loop() {
		Dots(&sums, x, &y)
	}
}
