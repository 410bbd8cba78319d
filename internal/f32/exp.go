package f32

import "math"

// The limits beyond which e^x has rounded to +Inf and to 0; clamping to them keeps the power of two
// below in range.
const (
	expMax = 89
	expMin = -104
)

// ln2Hi + ln2Lo is the logarithm of two; ln2Hi has so few bits that its product with any exponent
// is exact.
const (
	log2e = 1.44269504
	ln2Hi = 0.693359375
	ln2Lo = -2.12194440e-4
)

// roundMagic, added to a small number, leaves that number rounded to an integer in the lowest bits
// of the sum.
const (
	roundMagic     = 3 << 22
	roundMagicBits = 0x4B400000
)

// Coefficients q of e^r ≈ 1 + r + r²·(q0 + q1·r + … ) for |r| ≤ ln2/2, fitted to the least largest
// relative error, 3e-9.
const (
	expQ0 = 0.49999993
	expQ1 = 0.1666652
	expQ2 = 0.041668394
	expQ3 = 0.008368782
	expQ4 = 0.0013814466
)

// exp returns e^x within 1.5 units in the last place. It is all products, sums and integer
// operations, so that a vector unit gets the same bits.
func exp(x float32) float32 {
	if x > expMax {
		x = expMax
	}
	if x < expMin {
		x = expMin
	}
	t := float32(x*log2e) + roundMagic
	n := t - roundMagic
	r := float32(x-float32(n*ln2Hi)) - float32(n*ln2Lo)
	q := float32(expQ4*r) + expQ3
	q = float32(q*r) + expQ2
	q = float32(q*r) + expQ1
	q = float32(q*r) + expQ0
	y := float32(float32(float32(r*r)*q)+r) + 1
	// The power of two goes in as two factors, so that a subnormal result is rounded once.
	k := int32(math.Float32bits(t)) - roundMagicBits
	return float32(y*pow2(k>>1)) * pow2(k-k>>1)
}

// pow2 returns 2^k for k of a normal number.
func pow2(k int32) float32 { return math.Float32frombits(uint32(k+127) << 23) }

// Exp sets dst[i] = e^x[i] within 2 units in the last place: +Inf and 0 beyond float32's range, NaN
// of NaN.
func Exp(dst, x []float32) {
	sameLen(len(dst), len(x))
	expVec(dst, x)
}

func expGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = exp(v)
	}
}
