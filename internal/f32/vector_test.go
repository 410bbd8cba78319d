package f32

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
	"github.com/switchyard-moe/switchyard/internal/cpu"
)

func TestVectors(t *testing.T) {
	t.Logf("assembly kernels in use: %v", cpu.Has(cpu.AVX2))
	x, y := []float32{1, 2, 3}, []float32{4, 5, 6}
	Add(x, y)
	require.Equal(t, []float32{5, 7, 9}, x)
	Axpy(x, 2, y)
	require.Equal(t, []float32{13, 17, 21}, x)
	Scale(x, 0.5)
	require.Equal(t, []float32{6.5, 8.5, 10.5}, x)
	Mul(x, x, y)
	require.Equal(t, []float32{26, 42.5, 63}, x)
	require.Equal(t, float32(4*26+5*42.5+6*63), Dot(x, y))
	require.Equal(t, float32(131.5), Sum(x))
	require.Zero(t, Dot(nil, nil))
	require.PanicsWithValue(t, "f32: lengths 3 and 2 differ", func() { Add(x, y[:2]) })
}

// TestOrderOfDot follows the documented order on numbers that show it: 2^24 + 1 is not a float32.
func TestOrderOfDot(t *testing.T) {
	ones := make([]float32, 3*lanes)
	for i := range ones {
		ones[i] = 1
	}
	x := make([]float32, 3*lanes)
	x[0], x[lanes], x[2*lanes] = 1<<24, 1, 1 // one lane: each 1 is lost
	require.Equal(t, float32(1<<24), Dot(x, ones))
	require.Equal(t, float32(1<<24), Sum(x))
	x[lanes], x[2*lanes], x[1], x[17] = 0, 0, 1, 1 // lanes 1 and 17 meet before they meet lane 0
	require.Equal(t, float32(1<<24+2), Dot(x, ones))
	require.Equal(t, float32(1<<24+2), Sum(x))
}

func TestNoAllocation(t *testing.T) {
	x, y := make([]float32, 100), make([]float32, 100)
	require.Zero(t, alloctest.Least(10, func() {
		GELU(x, y)
		SwiGLUGrad(x, y, x, y, y)
		x[0] = Dot(x, y)
	}))
}
