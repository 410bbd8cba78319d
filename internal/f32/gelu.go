package f32

// geluLimit is where the normal distribution's tail has long rounded to zero; clamping there gives
// the limits at ±Inf instead of Inf·0.
const geluLimit = 15

// The tail of the normal distribution is Φ(-t) = e^(-t²/2)·u·(tail0 + tail1·u + …) with u = 1/(1 +
// tailScale·t): the form of Abramowitz and Stegun 7.1.26, here with coefficients fitted to a
// relative error of 3e-8 on [0, 14].
const (
	tailScale = 0.35
	tail0     = 0.13962140322152242
	tail1     = 0.13986188804219024
	tail2     = 0.11983273796335857
	tail3     = 0.10550849974183092
	tail4     = -0.02311096063074478
	tail5     = 0.15917571999532196
	tail6     = -0.2557155467145048
	tail7     = 0.1439722850068253
	tail8     = -0.0291460425648109
)

// invSqrt2Pi is the normal density at 0.
const invSqrt2Pi = 0.3989422804014327

// normal returns the standard normal distribution Φ(x) and e^(-x²/2).
func normal(x float32) (phi, bell float32) {
	t := x
	if t < 0 {
		t = -t
	}
	u := 1 / (1 + float32(tailScale*t))
	bell = exp(float32(-0.5*t) * t)
	p := float32(tail8*u) + tail7
	p = float32(p*u) + tail6
	p = float32(p*u) + tail5
	p = float32(p*u) + tail4
	p = float32(p*u) + tail3
	p = float32(p*u) + tail2
	p = float32(p*u) + tail1
	p = float32(p*u) + tail0
	tail := float32(bell*u) * p
	if x < 0 {
		return tail, bell
	}
	return 1 - tail, bell
}

func gelu(x float32) float32 {
	if x < -geluLimit {
		x = -geluLimit
	}
	phi, _ := normal(x)
	return x * phi
}

// geluSlope returns Φ(x) + x·φ(x).
func geluSlope(x float32) float32 {
	if x < -geluLimit {
		x = -geluLimit
	}
	if x > geluLimit {
		x = geluLimit
	}
	phi, bell := normal(x)
	return phi + float32(x*float32(invSqrt2Pi*bell))
}

// GELU sets dst[i] = x[i]·Φ(x[i]), Φ the standard normal distribution: the exact form,
// (1+erf(x/√2))/2, with an absolute error of a few units in the last place of x.
func GELU(dst, x []float32) {
	sameLen(len(dst), len(x))
	geluVec(dst, x)
}

// GELUGrad sets dst[i] = dy[i]·GELU'(x[i]).
func GELUGrad(dst, x, dy []float32) {
	sameLen(len(dst), len(x), len(dy))
	geluGradVec(dst, x, dy)
}

func geluGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = gelu(v)
	}
}

func geluGradGeneric(dst, x, dy []float32) {
	for i, v := range x {
		dst[i] = dy[i] * geluSlope(v)
	}
}
