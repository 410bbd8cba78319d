package hadamard

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// sample draws a vector and signs.
func sample(r *rand.Rand, n int) (x []float32, signs []uint32) {
	x, signs = make([]float32, n), make([]uint32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
		signs[i] = r.Uint32() & Sign
	}
	return x, signs
}

// slow is the matrix product, in float64.
func slow(x []float32, signs []uint32) []float64 {
	y := make([]float64, len(x))
	for i := range y {
		for j, v := range x {
			turned := bits.OnesCount(uint(i&j))&1 != int(signs[j]>>31)
			if turned {
				v = -v
			}
			y[i] += float64(v)
		}
	}
	return y
}

func requireNear(t *testing.T, want []float64, got []float32) {
	t.Helper()
	size := 0.0
	for _, w := range want {
		size = max(size, math.Abs(w))
	}
	for i, w := range want[:len(got)] {
		require.InDelta(t, w, got[i], 1e-6*size, "element %d of %d", i, len(want))
	}
}

func TestTransformIsTheMatrixProduct(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for n := Block; n <= 1<<11; n *= 2 {
		x, signs := sample(r, n)
		want := slow(x, signs)
		y := make([]float32, n)
		Transform(y, x, signs)
		requireNear(t, want, y)
		for m := Block; m <= n; m *= 2 {
			front := make([]float32, m)
			Front(front, x, signs, make([]float32, n))
			require.Equal(t, y[:m], front, "the first %d of %d", m, n)
		}
		Transform(x, x, signs)
		require.Equal(t, y, x, "in place, %d elements", n)
	}
}

func TestWrongLengthsPanic(t *testing.T) {
	f := func(n int) []float32 { return make([]float32, n) }
	u := func(n int) []uint32 { return make([]uint32, n) }
	for _, wrong := range []func(){
		func() { Transform(f(0), f(0), u(0)) },
		func() { Transform(f(32), f(32), u(32)) },
		func() { Transform(f(96), f(96), u(96)) },
		func() { Transform(f(64), f(128), u(128)) },
		func() { Transform(f(128), f(128), u(64)) },
		func() { Front(f(128), f(64), u(64), f(64)) },
		func() { Front(f(64), f(128), u(128), f(64)) },
		func() { Front(f(48), f(128), u(128), f(128)) },
	} {
		require.Panics(t, wrong)
	}
}

func BenchmarkTransform(b *testing.B) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, n := range []int{512, 1024, 2048, 4096} {
		x, signs := sample(r, n)
		y := make([]float32, n)
		b.Run(fmt.Sprintf("whole/n=%d", n), func(b *testing.B) {
			b.SetBytes(int64(4 * n))
			for b.Loop() {
				Transform(y, x, signs)
			}
		})
		scratch := make([]float32, n)
		b.Run(fmt.Sprintf("front/n=%d", n), func(b *testing.B) {
			b.SetBytes(int64(4 * n))
			for b.Loop() {
				Front(y[:Block], x, signs, scratch)
			}
		})
	}
}

// TestBlocksAreTransformedApart, and come back times Block when they are transformed twice.
func TestBlocksAreTransformedApart(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	x, _ := sample(r, 5*Block)
	got := append([]float32(nil), x...)
	Blocks(got)
	for b := 0; b < len(x); b += Block {
		want := make([]float32, Block)
		Transform(want, x[b:b+Block], make([]uint32, Block))
		require.Equal(t, want, got[b:b+Block], "block at %d", b)
	}
	Blocks(got)
	for i, v := range x {
		require.InDelta(t, Block*v, got[i], 1e-3)
	}
	Blocks(nil)
	require.PanicsWithValue(t, "hadamard: length 65, want a multiple of 64", func() { Blocks(got[:65]) })
}
