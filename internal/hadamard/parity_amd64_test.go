//go:build amd64 && !purego

package hadamard

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/cpu"
	"github.com/switchyard-moe/switchyard/internal/guardpage"
)

// levels are what the kernels of each width need.
var levels = []struct {
	name  string
	level level
	needs cpu.Features
}{{"Go", levelGo, 0}, {"AVX2", levelAVX2, needsAVX2}, {"AVX-512", levelAVX512, needsAVX512}}

// eachLevel runs f with vectors of each width that this processor has, and with the Go code.
func eachLevel(t *testing.T, f func(t *testing.T)) {
	for _, l := range levels {
		t.Run(l.name, func(t *testing.T) {
			if !cpu.Has(l.needs) {
				t.Skip("this processor does not have the instructions")
			}
			defer cpu.Limit(l.needs)()
			require.Equal(t, l.level, widest())
			f(t)
		})
	}
}

func TestEachLevelIsTheMatrixProduct(t *testing.T) {
	eachLevel(t, TestTransformIsTheMatrixProduct)
	eachLevel(t, TestBlocksAreTransformedApart)
}

// odd is any float32 now and then, infinities and denormals included, but no NaN.
func odd(r *rand.Rand) float32 {
	for r.IntN(16) == 0 {
		if v := math.Float32frombits(r.Uint32()); v == v {
			return v
		}
	}
	return float32(r.NormFloat64())
}

// requireBits compares bits, except those of NaN.
func requireBits(t *testing.T, want, got []float32, what string) {
	t.Helper()
	for i, w := range want {
		if g := got[i]; math.Float32bits(g) != math.Float32bits(w) && (g == g || w == w) {
			require.Failf(t, what, "element %d of %d is %v, not %v", i, len(want), g, w)
		}
	}
}

// TestKernelsHaveTheBitsOfGo compares bits between pages that must not be touched, at any
// alignment.
func TestKernelsHaveTheBitsOfGo(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(3, seed))
		for n := Block; n <= 1<<14; n *= 2 {
			for turn := range 4 {
				compare(t, r, n, turn)
			}
		}
	})
}

func compare(t *testing.T, r *rand.Rand, n, turn int) {
	before, off := turn%2 == 0, 0
	if turn > 1 {
		off = 1 + r.IntN(15)
	}
	vector := func(n int) []float32 {
		v := guardpage.Float32(t, n+off, before)
		if before {
			return v[off:]
		}
		return v[:n]
	}
	x, y, scratch, masks := vector(n), vector(n), vector(n), vector(n)
	signs := unsafe.Slice((*uint32)(unsafe.Pointer(&masks[0])), n)
	for i := range x {
		x[i], signs[i] = odd(r), r.Uint32()&Sign
	}
	want := make([]float32, n)
	transformGeneric(want, x, signs)
	Transform(y, x, signs)
	requireBits(t, want, y, "transform")
	for m := Block; m <= n; m *= 2 {
		front := vector(m)
		Front(front, x, signs, scratch)
		requireBits(t, want[:m], front, "front")
	}
	Transform(x, x, signs)
	requireBits(t, want, x, "in place")
}

// TestStaysBetween finds writes beside the vectors.
func TestStaysBetween(t *testing.T) {
	const guard, margin = 12345, 16
	eachLevel(t, func(t *testing.T) {
		for n := Block; n <= 1<<12; n *= 2 {
			room := func(n int) []float32 { return slices.Repeat([]float32{guard}, n+2*margin) }
			x, y, front, signs := room(n), room(n), room(Block), make([]uint32, n)
			Transform(y[margin:n+margin], x[margin:n+margin], signs)
			Front(front[margin:Block+margin], x[margin:n+margin], signs, y[margin:n+margin])
			for _, v := range [][]float32{x, y, front} {
				for i := range margin {
					require.Equal(t, float32(guard), v[i])
					require.Equal(t, float32(guard), v[len(v)-1-i])
				}
			}
		}
	})
}

func BenchmarkLevels(b *testing.B) {
	for _, l := range levels {
		if cpu.Has(l.needs) {
			b.Run(l.name, func(b *testing.B) {
				defer cpu.Limit(l.needs)()
				benchmarkTransform(b)
			})
		}
	}
}

func benchmarkTransform(b *testing.B) {
	const n = 1024
	x, signs := sample(rand.New(rand.NewPCG(4, 4)), n)
	y, scratch := make([]float32, n), make([]float32, n)
	b.Run("whole", func(b *testing.B) {
		b.SetBytes(4 * n)
		for b.Loop() {
			Transform(y, x, signs)
		}
	})
	b.Run("front", func(b *testing.B) {
		b.SetBytes(4 * n)
		for b.Loop() {
			Front(y[:Block], x, signs, scratch)
		}
	})
}
