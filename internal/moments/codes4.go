package moments

import "math"

// Codes of four bits, the first of a pair in the lower half of its byte.

// encode4 writes how many of the thresholds least each magnitude reaches, with the number's sign in
// two's complement. least is ascending.
func encode4(codes []byte, block, least []float32) {
	done := codes4(codes, block, least)
	clear(codes[done/2:])
	for i := done; i < len(block); i++ {
		codes[i/2] |= code4(block[i], least) << (4 * (i % 2))
	}
}

// code4 is the code of one number.
func code4(v float32, least []float32) byte {
	magnitude := math.Float32frombits(math.Float32bits(v) &^ (1 << 31))
	code := int8(0)
	for _, l := range least {
		if magnitude >= l {
			code++
		}
	}
	if math.Signbit(float64(v)) {
		code = -code
	}
	return byte(code) & 15
}

// decode4 reads the values of codes.
func decode4(block []float32, codes []byte, values *[16]float32) {
	for i := values4(block, codes, values); i < len(block); i++ {
		block[i] = values[codes[i/2]>>(4*(i%2))&15]
	}
}
