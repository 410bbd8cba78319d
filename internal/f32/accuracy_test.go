package f32

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// sweep calls f with every stride-th float32, infinities and both zeros among them.
func sweep(stride uint32, f func(x float32)) {
	f(float32(math.Inf(1)))
	f(float32(math.Inf(-1)))
	for b := uint64(0); b < 1<<32; b += uint64(stride) {
		if x := math.Float32frombits(uint32(b)); x == x {
			f(x)
		}
	}
}

// stride is odd, so that all patterns of the low bits occur.
func stride() uint32 {
	if testing.Short() {
		return 65537
	}
	return 2003
}

// ulp is the distance between float32 numbers near v.
func ulp(v float64) float64 {
	_, e := math.Frexp(math.Abs(v))
	return math.Ldexp(1, max(e-24, -149))
}

// one applies a vector function to a single number.
func one(f func(dst, x []float32), x float32) float32 {
	v := []float32{x}
	f(v, v)
	return v[0]
}

// checkUlps fails if f is further than limit from want; beyond float32 only the infinity will do.
func checkUlps(t *testing.T, f func(dst, x []float32), want func(x float64) float64, limit float64) {
	t.Helper()
	worst, at := 0.0, float32(0)
	sweep(stride(), func(x float32) {
		got, exact := float64(one(f, x)), want(float64(x))
		if rounded := float64(float32(exact)); rounded == got {
			return
		}
		if d := math.Abs(got-exact) / ulp(exact); !(d <= worst) {
			worst, at = d, x
		}
	})
	t.Logf("largest error %.3g ulp at %g", worst, at)
	require.LessOrEqual(t, worst, limit, "at %g", at)
}

// checkAbs fails if f is further than limit·max(1, |want|) from want.
func checkAbs(t *testing.T, f func(dst, x []float32), want func(x float64) float64, limit float64) {
	t.Helper()
	worst, at := 0.0, float32(0)
	sweep(stride(), func(x float32) {
		got, exact := float64(one(f, x)), want(float64(x))
		if got == exact {
			return
		}
		if d := math.Abs(got-exact) / max(1, math.Abs(exact)); !(d <= worst) {
			worst, at = d, x
		}
	})
	t.Logf("largest error %.3g at %g", worst, at)
	require.LessOrEqual(t, worst, limit, "at %g", at)
}

func phi64(x float64) float64  { return 0.5 * math.Erfc(-x/math.Sqrt2) }
func bell64(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }

func gelu64(x float64) float64 {
	if x < -40 {
		return 0
	}
	return x * phi64(x)
}

func geluSlope64(x float64) float64 {
	x = max(min(x, 40), -40)
	return phi64(x) + x*bell64(x)
}

func sigmoid64(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func silu64(x float64) float64 {
	if x < -700 {
		return 0
	}
	return x * sigmoid64(x)
}

func siluSlope64(x float64) float64 {
	x = max(min(x, 700), -700)
	s := sigmoid64(x)
	return s * (1 + x*(1-s))
}

func slopeOf(f func(dst, x, dy []float32)) func(dst, x []float32) {
	return func(dst, x []float32) { f(dst, x, []float32{1}) }
}

func TestExpAccuracy(t *testing.T) { checkUlps(t, Exp, math.Exp, 2) }

func TestSigmoidAccuracy(t *testing.T) { checkAbs(t, Sigmoid, sigmoid64, 1.5e-7) }

func TestSiLUAccuracy(t *testing.T) { checkAbs(t, SiLU, silu64, 3e-7) }

func TestSiLUGradAccuracy(t *testing.T) { checkAbs(t, slopeOf(SiLUGrad), siluSlope64, 3e-7) }

func TestGELUAccuracy(t *testing.T) { checkAbs(t, GELU, gelu64, 3e-7) }

func TestGELUGradAccuracy(t *testing.T) { checkAbs(t, slopeOf(GELUGrad), geluSlope64, 3e-7) }

func TestActivationsOfNaN(t *testing.T) {
	nan := float32(math.NaN())
	for name, f := range map[string]func(dst, x []float32){
		"exp": Exp, "sigmoid": Sigmoid, "silu": SiLU, "gelu": GELU, "relu": ReLU,
		"silu grad": slopeOf(SiLUGrad), "gelu grad": slopeOf(GELUGrad),
	} {
		require.NotEqual(t, one(f, nan), one(f, nan), name)
	}
}

func TestReLU(t *testing.T) {
	x := []float32{-1, 0, 2, float32(math.Copysign(0, -1)), float32(math.Inf(-1))}
	y := make([]float32, len(x))
	ReLU(y, x)
	require.Equal(t, []float32{0, 0, 2, 0, 0}, y)
	ReLUGrad(y, x, []float32{5, 6, 7, 8, 9})
	require.Equal(t, []float32{0, 0, 7, 0, 0}, y)
}
