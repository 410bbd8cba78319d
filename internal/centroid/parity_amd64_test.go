//go:build amd64 && !purego

package centroid

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

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

func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 3))
}

// number draws any float32 one time in four, infinities and NaN included, else a common one, often
// one of a few.
func number(r *rand.Rand) float32 {
	switch r.IntN(4) {
	case 0:
		return math.Float32frombits(r.Uint32())
	case 1:
		return float32(r.IntN(5) - 2)
	}
	return float32(r.NormFloat64())
}

func fill(r *rand.Rand, x []float32) {
	for i := range x {
		x[i] = number(r)
	}
}

// memory gives a test vectors beside which nothing can be touched, on one side, at any alignment.
type memory struct {
	all    []float32
	before bool
	r      *rand.Rand
}

func newMemory(t *testing.T, r *rand.Rand, n int, before bool) memory {
	return memory{guardpage.Float32(t, n+16, before), before, r}
}

func (m memory) take(n int) []float32 {
	off := m.r.IntN(2) * m.r.IntN(16)
	v := m.all[len(m.all)-n-off:][:n]
	switch {
	case m.before:
		v = m.all[off:][:n]
	case off > 0 && m.r.IntN(2) == 0:
		v = m.all[len(m.all)-n:][:n]
	}
	fill(m.r, v)
	return v
}

func requireBits(t *testing.T, want, got []float32, what string) {
	t.Helper()
	for i, w := range want {
		if g := got[i]; math.Float32bits(g) != math.Float32bits(w) && (g == g || w == w) {
			require.Failf(t, what, "element %d of %d is %v, not %v", i, len(want), g, w)
		}
	}
}

func TestSumHasTheBitsOfGo(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := seeded(t)
		for _, before := range []bool{true, false} {
			xs, dsts := newMemory(t, r, 9*620, before), newMemory(t, r, 600, before)
			for cols := range 600 {
				if cols > 70 && cols%7 > 1 {
					continue
				}
				stride := cols + r.IntN(20)
				x := xs.take(8*stride + cols)
				dst, rows := dsts.take(cols), make([]int32, 1+r.IntN(9))
				for i := range rows {
					rows[i] = int32(r.IntN(9))
				}
				want := make([]float32, cols)
				if cols > 0 {
					sumGeneric(want, x, stride, rows, 0.3)
				}
				Sum(dst, x, stride, rows, 0.3)
				requireBits(t, want, dst, "sum")
			}
		}
	})
}

func TestResidualHasTheBitsOfGo(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := seeded(t)
		for _, before := range []bool{true, false} {
			a, b, c := newMemory(t, r, 200, before), newMemory(t, r, 200, before), newMemory(t, r, 200, before)
			for n := range 200 {
				dst, x, y, want := a.take(n), b.take(n), c.take(n), make([]float32, n)
				residualGeneric(want, 1.7, x, y)
				Residual(dst, 1.7, x, y)
				requireBits(t, want, dst, "residual")
				Residual(x, 1.7, x, y)
				requireBits(t, want, x, "residual in place")
			}
		}
	})
}

func TestVerticesHasTheBitsOfGo(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := seeded(t)
		for _, before := range []bool{true, false} {
			xs, dsts := newMemory(t, r, 12*40, before), newMemory(t, r, 12, before)
			for n := range 12 {
				for q := 1; q <= 40; q++ {
					x, dst, want := xs.take(n*q), codes(dsts.take(n)), make([]uint32, n)
					verticesGeneric(want, x, q)
					Vertices(dst, x, q)
					require.Equal(t, want, dst, "%d points of %d coordinates: %v", n, q, x)
				}
			}
		}
	})
}

// TestStaysBetween finds writes beside the vectors.
func TestStaysBetween(t *testing.T) {
	const guard, margin = 12345, 16
	eachLevel(t, func(t *testing.T) {
		for n := range 300 {
			room := func(n int) (all, inner []float32) {
				all = slices.Repeat([]float32{guard}, n+2*margin)
				return all, all[margin : n+margin]
			}
			sums, s := room(n)
			residuals, d := room(n)
			found, v := room(n)
			x := make([]float32, 8*n)
			Sum(s, x, n, []int32{1, 2}, 1)
			Residual(d, 1, x[:n], x[n:2*n])
			Vertices(codes(v), x, 8)
			for _, all := range [][]float32{sums, residuals, found} {
				require.Equal(t, slices.Repeat([]float32{guard}, margin), all[:margin])
				require.Equal(t, slices.Repeat([]float32{guard}, margin), all[n+margin:])
			}
		}
	})
}
