package f32

import "math"

// sqrtHalfBits is √½, the least mantissa of the logarithm below.
const sqrtHalfBits = 0x3f3504f3

const (
	leastNormal  = 0x1p-126
	fraction     = 23 // bits
	fractionBits = 1<<fraction - 1
	leastExp2    = -126
)

// Coefficients of log2(1+f) ≈ f·(c0 + c1·f + … ) for 1+f from √½ to √2, within 1.4e-5 of f, and of
// 2^r ≈ 1 + r·(d0 + d1·r + … ) for |r| ≤ ½, within 1.2e-5 of r: fitted to the least largest error.
const (
	log2C0 = 1.44270039
	log2C1 = -0.721195757
	log2C2 = 0.479925573
	log2C3 = -0.366925776
	log2C4 = 0.316898197
	log2C5 = -0.202289268

	exp2D0 = 0.693136752
	exp2D1 = 0.2402253
	exp2D2 = 0.0558382832
	exp2D3 = 0.00965671055
)

// Log2 is about the logarithm of x to base 2, within 1e-5 of an octave, for the formats of few bits
// that need no better. x is finite and not below 0; what is below the normal numbers counts as the
// least of those. It is all products, sums and integer operations, so that all processors have the
// same bits, and exact for powers of two.
func Log2(x float32) float32 {
	if !(x > leastNormal) {
		x = leastNormal
	}
	b := int32(math.Float32bits(x)) - sqrtHalfBits
	f := math.Float32frombits(uint32(b&fractionBits)+sqrtHalfBits) - 1
	q := float32(log2C5*f) + log2C4
	q = float32(q*f) + log2C3
	q = float32(q*f) + log2C2
	q = float32(q*f) + log2C1
	q = float32(q*f) + log2C0
	return float32(q*f) + float32(b>>fraction)
}

// Exp2 is about 2^x, within 1e-5 of it, for x from -126 to 126, with the least of them for x below;
// exact for whole numbers.
func Exp2(x float32) float32 {
	if !(x > leastExp2) {
		x = leastExp2
	}
	t := x + roundMagic
	r := x - (t - roundMagic)
	q := float32(exp2D3*r) + exp2D2
	q = float32(q*r) + exp2D1
	q = float32(q*r) + exp2D0
	y := float32(q*r) + 1
	return math.Float32frombits(math.Float32bits(y) + math.Float32bits(t)<<fraction)
}

// PowerOf is a power of magnitudes over a unit: Factor·(|x|/unit)^Exponent with the sign of x.
type PowerOf struct {
	Log2     float32 // of the unit, as function Log2 has it
	Exponent float32
	Factor   float32
}

// Apply sets dst[i] to the power of x[i], which is finite and at most a unit. One unit is exactly
// Factor, and 0 is 0.
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
			y = p.Factor * Exp2(float32((Log2(magnitude)-p.Log2)*p.Exponent))
		}
		dst[i] = math.Float32frombits(math.Float32bits(y) | sign)
	}
}
