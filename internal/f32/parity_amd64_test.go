//go:build amd64 && !purego

package f32

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/cpu"
	"github.com/switchyard-moe/switchyard/internal/guardpage"
)

// kernels are all functions with an assembly kernel, as functions of five vectors of which the
// first one to four are results.
var kernels = map[string]func(v [5][]float32){
	"add":        func(v [5][]float32) { Add(v[0], v[1]) },
	"axpy":       func(v [5][]float32) { Axpy(v[0], 1.7, v[1]) },
	"mul":        func(v [5][]float32) { Mul(v[0], v[1], v[2]) },
	"scale":      func(v [5][]float32) { Scale(v[0], -0.3) },
	"exp":        func(v [5][]float32) { Exp(v[0], v[1]) },
	"gelu":       func(v [5][]float32) { GELU(v[0], v[1]) },
	"gelugrad":   func(v [5][]float32) { GELUGrad(v[0], v[1], v[2]) },
	"silu":       func(v [5][]float32) { SiLU(v[0], v[1]) },
	"silugrad":   func(v [5][]float32) { SiLUGrad(v[0], v[1], v[2]) },
	"swiglu":     func(v [5][]float32) { SwiGLU(v[0], v[1], v[2]) },
	"swiglugrad": func(v [5][]float32) { SwiGLUGrad(v[0], v[1], v[2], v[3], v[4]) },
	"aliases":    func(v [5][]float32) { SwiGLUGrad(v[0], v[1], v[0], v[1], v[1]) },
	"power": func(v [5][]float32) {
		(&PowerOf{Log2: Log2(0.7), Exponent: 1.3125, Factor: 448}).Apply(v[0], v[1])
		(&PowerOf{Log2: Log2(3), Exponent: -0.25, Factor: 1e-3}).Apply(v[2], v[3])
	},
	"adam": func(v [5][]float32) {
		c := AdamStep{0.9, 0.1, 0.99, 0.01, 1.5, 3, 1e-3, 0.01, 0.999}
		c.Update(v[0], v[1], v[2], v[3])
	},
	"dot": func(v [5][]float32) {
		if len(v[0]) > 0 {
			v[0][0] = Dot(v[1], v[2])
		}
	},
	"sumsquares": func(v [5][]float32) {
		bits := math.Float64bits(SumSquares(v[1]))
		for i := range v[0] { // all of the bits, but for those of a NaN
			if v[0][i] = float32(bits >> (16 * (i % 4)) & 0xffff); bits&^(1<<63) > math.Float64bits(math.Inf(1)) {
				v[0][i] = 0
			}
		}
	},
}

// bothWays runs f with and without assembly on copies of v and requires the same bits in all
// vectors.
func bothWays(t *testing.T, name string, f func(v [5][]float32), v [5][]float32) {
	t.Helper()
	var plain [5][]float32
	for i := range v {
		plain[i] = slices.Clone(v[i])
	}
	undo := cpu.Limit(0)
	f(plain)
	undo()
	f(v)
	for i := range v {
		for j, w := range plain[i] {
			if g := v[i][j]; math.Float32bits(g) != math.Float32bits(w) && (g == g || w == w) {
				require.Failf(t, name, "vector %d of %d elements: element %d is %v, not %v", i, len(v[i]), j, g, w)
			}
		}
	}
}

func needAVX2(t *testing.T) {
	if !cpu.Has(cpu.AVX2) {
		t.Skip("this processor has no AVX2")
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

// number draws any float32 one time in four, infinities and NaN included, else a common one.
func number(r *rand.Rand) float32 {
	switch r.IntN(8) {
	case 0:
		return math.Float32frombits(r.Uint32())
	case 1:
		odd := []float64{math.Inf(1), math.Inf(-1), math.NaN(), 0, math.Copysign(0, -1), 88.7, -104, 15, -15, 87, -87}
		return float32(odd[r.IntN(len(odd))])
	}
	return float32(r.NormFloat64() * 4)
}

// TestKernelsHaveTheBitsOfGo compares every length up to 100, with and without an offset, between
// pages that must not be touched.
func TestKernelsHaveTheBitsOfGo(t *testing.T) {
	needAVX2(t)
	r := seeded(t)
	var room [2][5][]float32
	for i := range room {
		for j := range room[i] {
			room[i][j] = guardpage.Float32(t, 107, i == 0)
		}
	}
	for name, f := range kernels {
		for n := range 100 {
			for i, whole := range room {
				var v [5][]float32
				for j, w := range whole {
					off := r.IntN(8)
					v[j] = w[len(w)-n-off*(1-i):][:n]
					if i == 0 {
						v[j] = w[off*r.IntN(2):][:n]
					}
					for k := range v[j] {
						v[j][k] = number(r)
					}
				}
				bothWays(t, name, f, v)
			}
		}
	}
}

// TestKernelsHaveTheBitsOfGoInASweep goes through the numbers of the accuracy tests.
func TestKernelsHaveTheBitsOfGoInASweep(t *testing.T) {
	needAVX2(t)
	var x []float32
	sweep(stride()*8, func(v float32) { x = append(x, v) })
	ones := slices.Repeat([]float32{1}, len(x))
	for name, f := range kernels {
		v := [5][]float32{slices.Clone(x), slices.Clone(x), slices.Clone(ones), slices.Clone(x), slices.Clone(ones)}
		bothWays(t, name, f, v)
	}
}

// TestStaysBetween finds writes beside the vectors.
func TestStaysBetween(t *testing.T) {
	needAVX2(t)
	const guard = 12345
	for name, f := range kernels {
		for n := range 70 {
			var v, all [5][]float32
			for i := range v {
				all[i] = slices.Repeat([]float32{guard}, n+16)
				v[i] = all[i][8 : 8+n]
				clear(v[i])
			}
			f(v)
			for i := range all {
				for j := range 8 {
					require.Equal(t, float32(guard), all[i][j], name)
					require.Equal(t, float32(guard), all[i][8+n+j], name)
				}
			}
		}
	}
}
