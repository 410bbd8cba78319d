package formats

import (
	"math"
)

// element is a format of single numbers, by its definition: sign, exponent and mantissa.
type element struct {
	exponent, mantissa, bias int
	largest                  float64
	special                  special
}

// special says which codes are no finite numbers.
type special int

const (
	finite  special = iota // none
	ieee                   // the largest exponent: infinity, and NaN above it
	onlyNaN                // all ones but the sign
	fnuz                   // the code that else is −0
	scale                  // E8M0: no sign, no zero, 255 is NaN
)

var (
	bf16 = element{8, 7, 127, math.Ldexp(255, 120), ieee}
	e4m3 = element{4, 3, 7, 448, onlyNaN}
	e5m2 = element{5, 2, 15, 57344, ieee}
	e2m1 = element{2, 1, 1, 6, finite}
	e8m0 = element{8, 0, 127, math.Ldexp(1, 127), scale}
)

// elements are the formats by the tables' names.
func elements() map[string]element {
	return map[string]element{
		"BF16": bf16, "E4M3FN": e4m3, "E5M2": e5m2, "E2M1": e2m1, "E8M0": e8m0,
		"FP16":     {5, 10, 15, 65504, ieee},
		"E2M3":     {2, 3, 1, 7.5, finite},
		"E3M2":     {3, 2, 3, 28, finite},
		"E4M3FNUZ": {4, 3, 8, 240, fnuz},
		"E5M2FNUZ": {5, 2, 16, 57344, fnuz},
	}
}

// sign is the sign's bit.
func (e element) sign() int { return 1 << (e.exponent + e.mantissa) }

// value is what a code stands for.
func (e element) value(code int) float32 {
	magnitude := code & (e.sign() - 1)
	exponent, mantissa := magnitude>>e.mantissa, magnitude&(1<<e.mantissa-1)
	v := math.Ldexp(float64(1<<e.mantissa|mantissa), exponent-e.bias-e.mantissa)
	switch {
	case e.isNaN(code):
		v = math.NaN()
	case e.special == scale:
		return float32(math.Ldexp(1, code-e.bias))
	case e.special == ieee && exponent == 1<<e.exponent-1:
		v = math.Inf(1)
	case exponent == 0:
		v = math.Ldexp(float64(mantissa), 1-e.bias-e.mantissa)
	}
	if code&e.sign() != 0 {
		v = -v
	}
	return float32(v)
}

func (e element) isNaN(code int) bool {
	magnitude := code & (e.sign() - 1)
	switch e.special {
	case ieee:
		return magnitude > (1<<e.exponent-1)<<e.mantissa
	case onlyNaN:
		return magnitude == e.sign()-1
	case fnuz:
		return code == e.sign()
	case scale:
		return code == 255
	}
	return false
}

// overflow is what becomes of numbers that round to more than the largest, and of infinities.
type overflow int

const (
	saturate overflow = iota
	overflowInf
	overflowNaN
)

// code rounds v, which is no NaN, to nearest, ties to even.
func (e element) code(v float64, over overflow) int {
	code, a := 0, math.Abs(v)
	if math.Signbit(v) {
		code = e.sign()
	}
	r := e.round(a, math.RoundToEven)
	if r > e.largest {
		r = e.largest
		switch over {
		case overflowInf:
			return code | (1<<e.exponent-1)<<e.mantissa
		case overflowNaN:
			if e.special == fnuz {
				return e.sign()
			}
			return code | (e.sign() - 1)
		}
	}
	if e.special == fnuz && r == 0 {
		return 0
	}
	return code | e.magnitude(r)
}

// round rounds a magnitude to the format's steps, as if there were no largest number.
func (e element) round(a float64, whole func(float64) float64) float64 {
	if a == 0 || math.IsInf(a, 0) {
		return a
	}
	_, exponent := math.Frexp(a)
	step := max(exponent-1, 1-e.bias) - e.mantissa
	return math.Ldexp(whole(math.Ldexp(a, -step)), step)
}

// magnitude is the code of a magnitude that the format has.
func (e element) magnitude(r float64) int {
	least := 1 - e.bias
	if r < math.Ldexp(1, least) {
		return int(math.Ldexp(r, e.mantissa-least))
	}
	_, exponent := math.Frexp(r)
	steps := int(math.Ldexp(r, e.mantissa-exponent+1)) // with the leading one
	return (exponent-1+e.bias)<<e.mantissa + steps - 1<<e.mantissa
}
