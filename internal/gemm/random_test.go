package gemm

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// seeded returns a source of random numbers whose seed a failing test prints.
func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1))
}

// matrix returns random numbers of the stored shape, with gap elements of NaN after each row but
// the last, in a slice that ends with the last element.
func matrix(r *rand.Rand, rows, cols, gap int) blas32.General {
	m := blas32.General{Rows: rows, Cols: cols, Stride: max(cols+gap, 1)}
	if rows == 0 || cols == 0 {
		return m
	}
	n := (rows-1)*m.Stride + cols
	m.Data = make([]float32, n)
	for i := range m.Data {
		m.Data[i] = float32(math.NaN())
	}
	for i := range rows {
		for j := range cols {
			m.Data[i*m.Stride+j] = r.Float32()*2 - 1
		}
	}
	return m
}

// operand returns a random matrix that is rows×cols after t.
func operand(r *rand.Rand, t blas.Transpose, rows, cols, gap int) blas32.General {
	if t == blas.Trans {
		rows, cols = cols, rows
	}
	return matrix(r, rows, cols, gap)
}

func clone(m blas32.General) blas32.General {
	m.Data = append([]float32(nil), m.Data...)
	return m
}

// bits returns the bit patterns of x, with one for all NaNs.
func bits(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
		if v != v {
			b[i] = 0x7fc00000
		}
	}
	return b
}

// requireBits fails unless got and want have the same bits.
func requireBits(t testing.TB, want, got []float32, args ...any) {
	t.Helper()
	require.Equal(t, bits(want), bits(got), args...)
}

// onSets runs f for every set that this processor can run.
func onSets(t *testing.T, f func(t *testing.T, s *set)) {
	t.Logf("this build multiplies with %s", Name())
	for _, s := range runnable() {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

var transposes = []blas.Transpose{blas.NoTrans, blas.Trans}
