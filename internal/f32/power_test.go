package f32

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLog2(t *testing.T) {
	sweep(stride(), func(x float32) {
		if x >= leastNormal && x <= math.MaxFloat32 {
			exact := math.Log2(float64(x))
			require.InDelta(t, exact, Log2(x), 1e-5+math.Abs(exact)*1e-7, "%g", x)
		}
	})
	for e := -126; e < 128; e++ {
		require.Equal(t, float32(e), Log2(float32(math.Ldexp(1, e))))
	}
	require.Equal(t, float32(-126), Log2(0))
	require.Equal(t, float32(-126), Log2(1e-42))
}

func TestExp2(t *testing.T) {
	for x := float32(leastExp2); x < 126; x += 0.0137 {
		require.InEpsilon(t, math.Exp2(float64(x)), Exp2(x), 1e-5, "%g", x)
	}
	for e := -126; e < 127; e++ {
		require.Equal(t, float32(math.Ldexp(1, e)), Exp2(float32(e)))
	}
	require.Equal(t, float32(leastNormal), Exp2(-1e30))
}

// TestPower is near math.Pow, and has units and zeros exactly.
func TestPower(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 3000 {
		unit := float32(math.Exp(r.NormFloat64() * 20))
		p := PowerOf{Log2: Log2(unit), Exponent: float32(3+r.IntN(254)) / 16, Factor: 448}
		part := math.Exp(-r.Float64() * min(80/float64(p.Exponent), 40))
		x := []float32{unit, -unit, 0, float32(math.Copysign(0, -1)), float32(float64(unit) * part)}
		if x[4] < leastNormal {
			continue
		}
		got := make([]float32, len(x))
		p.Apply(got, x)
		require.Equal(t, []float32{448, -448, 0, 0}, got[:4])
		require.True(t, math.Signbit(float64(got[3])))
		want := 448 * math.Pow(float64(x[4])/float64(unit), float64(p.Exponent))
		require.InEpsilon(t, want, got[4], 4e-4, "%v of %v", p, x[4])
	}
}
