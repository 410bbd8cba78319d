package centroid

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSum(t *testing.T) {
	x := []float32{1, 2, 9, 3, 4, 9, 5, 6, 9}
	dst := make([]float32, 2)
	Sum(dst, x, 3, []int32{2, 0}, 0.5)
	require.Equal(t, []float32{3, 4}, dst)
	Sum(dst, x, 3, []int32{1}, 1)
	require.Equal(t, []float32{3, 4}, dst)
	Sum(dst[:0], x, 3, []int32{1}, 1)
	require.Panics(t, func() { Sum(dst, x, 3, nil, 1) })
	require.Panics(t, func() { Sum(dst, x, 3, []int32{3}, 1) })
	require.Panics(t, func() { Sum(dst, x, 3, []int32{-1}, 1) })
}

// The order of the rows is the order of the sum.
func TestSumGoesInOrder(t *testing.T) {
	x := []float32{1e8, 1, -1e8}
	dst := make([]float32, 1)
	Sum(dst, x, 1, []int32{0, 2, 1}, 1)
	require.Equal(t, float32(1), dst[0])
	Sum(dst, x, 1, []int32{0, 1, 2}, 1)
	require.Equal(t, float32(0), dst[0])
}

func TestResidual(t *testing.T) {
	x, b := []float32{1, 2, 3}, []float32{10, 20, 30}
	Residual(x, 2, x, b)
	require.Equal(t, []float32{-8, -16, -24}, x)
	require.Panics(t, func() { Residual(x, 1, x, b[:2]) })
}

func TestResidualOfNothingKeepsZeros(t *testing.T) {
	x := []float32{float32(math.Copysign(0, -1))}
	Residual(x, 1, x, []float32{0})
	require.True(t, math.Signbit(float64(x[0])), "-0 minus 0 is -0")
}

func TestVertices(t *testing.T) {
	zero := float32(math.Copysign(0, -1))
	x := []float32{1, -3, 2, 3, -3, 1, 0, 0, 0, zero, 0, 0, 1, 2, float32(math.Inf(-1))}
	dst := make([]uint32, 5)
	Vertices(dst, x, 3)
	require.Equal(t, []uint32{3, 0, 0, 1, 5}, dst)
	require.Panics(t, func() { Vertices(dst, x, 4) })
	require.Panics(t, func() { Vertices(dst, nil, 0) })
}

func BenchmarkKernels(b *testing.B) {
	const rows, cols, each = 2048, 1024, 5
	r := rand.New(rand.NewPCG(1, 1))
	x, dst := make([]float32, rows*cols), make([]float32, cols)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	order := make([]int32, rows)
	for i, p := range r.Perm(rows) {
		order[i] = int32(p)
	}
	b.Run("sum", func(b *testing.B) {
		b.SetBytes(4 * rows * cols)
		for b.Loop() {
			for i := 0; i+each <= rows; i += each {
				Sum(dst, x, cols, order[i:i+each], 0.2)
			}
		}
	})
	b.Run("residual", func(b *testing.B) {
		b.SetBytes(4 * rows * cols)
		for b.Loop() {
			for i := range rows {
				row := x[i*cols:][:cols]
				Residual(row, 1, row, dst)
			}
		}
	})
	codes := make([]uint32, 6)
	b.Run("vertices", func(b *testing.B) {
		for b.Loop() {
			Vertices(codes, x[:48], 8)
		}
	})
}
