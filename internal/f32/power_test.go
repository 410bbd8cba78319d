package f32

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLog(t *testing.T) {
	worst := 0.0
	sweep(stride(), func(x float32) {
		if x > 0 && !math.IsInf(float64(x), 0) {
			exact := math.Log(float64(x))
			worst = max(worst, math.Abs(float64(Log(x))-exact)/ulp(exact))
		}
	})
	require.LessOrEqual(t, worst, 2.0)
	require.Equal(t, uint32(0), math.Float32bits(Log(1)))
}

// TestPower is near math.Pow, and has units and zeros exactly.
func TestPower(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 3000 {
		unit := float32(math.Exp(r.NormFloat64() * 20))
		p := PowerOf{Log: Log(unit), Exponent: float32(1+r.IntN(256)) / 16, Factor: 448}
		span := 80 / p.Exponent
		part := math.Exp(-float64(r.Float32() * min(span, 40)))
		x := []float32{unit, -unit, 0, float32(math.Copysign(0, -1)), float32(float64(unit) * part)}
		if x[4] == 0 {
			continue
		}
		got := make([]float32, len(x))
		p.Apply(got, x)
		require.Equal(t, []float32{448, -448, 0, 0}, got[:4])
		require.True(t, math.Signbit(float64(got[3])))
		want := 448 * math.Pow(float64(x[4])/float64(unit), float64(p.Exponent))
		require.InEpsilon(t, want, got[4], 1e-4, "%v of %v", p, x[4])
	}
}
