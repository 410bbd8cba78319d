package router

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// TestNoiseGoesByEverySign: tokens that differ in the sign of one column draw other noise, however
// wide they are, and a size does not matter.
func TestNoiseGoesByEverySign(t *testing.T) {
	for _, dim := range []int{1, 63, 64, 65, 128, 130} {
		x := blas32.General{Rows: 1, Cols: dim, Stride: dim, Data: make([]float32, dim)}
		in := input{x: x, Batch: Batch{Ends: []int{1}}, seed: 7}
		draw := func() uint64 {
			random := in.noise(0, noiseChoice)
			return random.Uint64()
		}
		seen := map[uint64]int{draw(): -1}
		for i := range dim {
			x.Data[i] = -1
			bits := draw()
			require.NotContains(t, seen, bits, "column %d of %d", i, dim)
			seen[bits] = i
			x.Data[i] = -3
			require.Equal(t, bits, draw())
			x.Data[i] = 0
		}
	}
}

// TestNoiseOfWideTokensStays pins bits that a job which goes on from a checkpoint must draw again.
func TestNoiseOfWideTokensStays(t *testing.T) {
	x := blas32.General{Rows: 2, Cols: 130, Stride: 130, Data: make([]float32, 260)}
	for i := range x.Data {
		x.Data[i] = float32(i*i%7) - 3
	}
	in := input{x: x, Batch: Batch{Ends: []int{2}, Step: 5}, seed: 7}
	first, second := in.noise(0, noiseChoice), in.noise(1, noiseChoice)
	require.Equal(t, []uint64{0x571d7d9965e4285b, 0x951e90e72f70cefd}, []uint64{first.Uint64(), second.Uint64()})
}

// TestSizesOfAShape: the largest numbers of columns and of experts are allowed, and no more.
func TestSizesOfAShape(t *testing.T) {
	const most = 1 << 24
	require.Empty(t, checkShape(Shape{Dim: most, Experts: 1}))
	require.Empty(t, checkShape(Shape{Dim: 1, Experts: most}))
	require.Len(t, checkShape(Shape{Dim: most + 1, Experts: most + 1}), 2)
	require.Len(t, checkShape(Shape{}), 2)
	require.Len(t, checkShape(Shape{Dim: most, Experts: most}), 1, "too large together")
}
