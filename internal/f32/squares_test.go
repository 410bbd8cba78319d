package f32

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
)

// TestSumSquares follows the documented order on random lengths and numbers of all sizes, and is
// near the exact sum.
func TestSumSquares(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 8))
	for range 500 {
		x := make([]float32, r.IntN(70))
		exact := new(big.Float).SetPrec(2000)
		var acc [8]float64
		for i := range x {
			x[i] = float32(r.NormFloat64() * math.Pow(10, float64(r.IntN(60)-30)))
			s := float64(x[i]) * float64(x[i])
			acc[i%8] += s
			exact.Add(exact, new(big.Float).SetFloat64(s))
		}
		want := ((acc[0] + acc[4]) + (acc[2] + acc[6])) + ((acc[1] + acc[5]) + (acc[3] + acc[7]))
		require.Equal(t, want, SumSquares(x), "%d numbers", len(x))
		near, _ := exact.Float64()
		require.InEpsilon(t, near+1e-300, SumSquares(x)+1e-300, 1e-14)
	}
}

// TestSumSquaresOfExtremes neither overflows nor vanishes, and shows what is not finite.
func TestSumSquaresOfExtremes(t *testing.T) {
	least, most := float64(math.SmallestNonzeroFloat32), float64(math.MaxFloat32)
	require.Equal(t, least*least, SumSquares([]float32{math.SmallestNonzeroFloat32}))
	require.Equal(t, 2*most*most, SumSquares([]float32{-math.MaxFloat32, math.MaxFloat32}))
	inf := float32(math.Inf(-1))
	require.True(t, math.IsInf(SumSquares([]float32{1, inf}), 1))
	require.True(t, math.IsNaN(SumSquares([]float32{inf, inf - inf})))
	require.Zero(t, SumSquares(nil))
}

func TestSumSquaresAllocatesNothing(t *testing.T) {
	x := make([]float32, 100)
	require.Zero(t, alloctest.Least(10, func() { x[0] = float32(SumSquares(x)) }))
}
