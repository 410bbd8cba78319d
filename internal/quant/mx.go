package quant

import "math"

// Blocks of OCP's Microscaling (MX) formats, version 1.0: 32 numbers share a power of two, which a
// byte of E8M0 tells: 2^(byte-127), where 255 is NaN. A block is its scale and then its codes.

const (
	mxBlock = 32
	mxNaN   = 255 // the scale of a block that holds a NaN or an infinity
)

// notFinite is the least magnitude, as bits, of what is no finite number.
const notFinite = 0x7f800000

// scaleOf is what a byte of E8M0 stands for. Byte 0 is 2⁻¹²⁷, a subnormal number.
func scaleOf(b byte) float32 {
	switch b {
	case 0:
		return math.Float32frombits(1 << 22)
	case mxNaN:
		return float32(math.NaN())
	}
	return math.Float32frombits(uint32(b) << 23)
}

// encodeMXFP8 writes a block and returns the rest of dst. The scale is rounded up, so that no
// number is cut (RCEIL, from the bits: NVIDIA's recipe for training, arXiv 2506.08027).
func encodeMXFP8(dst []byte, block []float32) []byte {
	largest := math.Float32bits(largestIn(block)) &^ (1 << 31)
	rest := dst[1+len(block):]
	if largest >= notFinite {
		dst[0] = mxNaN
		clear(dst[1 : 1+len(block)])
		return rest
	}
	// The mantissa of 448 is 1.75: above it the exponent is one more.
	dst[0] = byte(max(int(largest+0x1fffff)>>23-8, 0))
	FP8.encodeCodes(dst[1:], block, scaleOf(dst[0]), largestE4M3)
	return rest
}
