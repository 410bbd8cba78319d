package f32

import "math"

// sqrtHalfBits is √½, the least mantissa of the logarithm below.
const sqrtHalfBits = 0x3f3504f3

const (
	leastNormal  = 0x1p-126
	fraction     = 23 // bits
	fractionBits = 1<<fraction - 1
	half         = 0.5
)

// Coefficients c of ln(1+f) ≈ f - f²/2 + f³·(c0 + c1·f + … ) for 1+f from √½ to √2, fitted to the
// least largest error, 2e-8 of the logarithm.
const (
	logC0 = 0.333333307
	logC1 = -0.250003064
	logC2 = 0.200010451
	logC3 = -0.166412815
	logC4 = 0.142144959
	logC5 = -0.129981838
	logC6 = 0.126223198
	logC7 = -0.0790274377
)

// Log returns the natural logarithm of a number that is finite and above 0, within 2 units in the
// last place. It is all products, sums and integer operations, as exp is, and exactly 0 for 1.
func Log(x float32) float32 {
	shift := float32(0)
	if x < leastNormal {
		x *= 1 << fraction
		shift = fraction
	}
	b := int32(math.Float32bits(x)) - sqrtHalfBits
	e := float32(b>>fraction) - shift
	f := math.Float32frombits(uint32(b&fractionBits)+sqrtHalfBits) - 1
	q := float32(logC7*f) + logC6
	q = float32(q*f) + logC5
	q = float32(q*f) + logC4
	q = float32(q*f) + logC3
	q = float32(q*f) + logC2
	q = float32(q*f) + logC1
	q = float32(q*f) + logC0
	square := float32(f * f)
	y := float32(float32(square*f) * q)
	y += float32(e * ln2Lo)
	y -= float32(square * half)
	return float32(y+f) + float32(e*ln2Hi)
}

// PowerOf is a power of magnitudes over a unit: Factor·(|x|/unit)^Exponent with the sign of x.
type PowerOf struct {
	Log      float32 // of the unit, as function Log has it
	Exponent float32
	Factor   float32
}

// Apply sets dst[i] to the power of x[i], which is finite. One unit is exactly Factor, and 0 is 0.
func (p *PowerOf) Apply(dst, x []float32) {
	sameLen(len(dst), len(x))
	power(p, dst, x)
}

func powerGeneric(p *PowerOf, dst, x []float32) {
	for i, v := range x {
		sign := math.Float32bits(v) & (1 << 31)
		magnitude := math.Float32frombits(math.Float32bits(v) &^ (1 << 31))
		y := float32(0)
		if magnitude != 0 {
			y = p.Factor * exp(float32((Log(magnitude)-p.Log)*p.Exponent))
		}
		dst[i] = math.Float32frombits(math.Float32bits(y) | sign)
	}
}
