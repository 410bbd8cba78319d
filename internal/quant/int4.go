package quant

import "math"

// Blocks of int4: a float32 scale that takes the largest magnitude to 7, and two's complement codes
// in pairs, the first of a pair in the lower half of its byte. Code −8 is not written.

const (
	int4Block   = 64
	largestInt4 = 7
)

// encodeInt4 writes a block over unit, a power of two, and returns the rest of dst. A block with a
// NaN or an infinity has the scale NaN.
func encodeInt4(dst []byte, block []float32, unit float32) []byte {
	n := blocks(len(block), 2)
	largest := largestIn(block)
	scale := largest / largestInt4
	if scale == 0 && largest > 0 { // too small to divide by
		scale = math.SmallestNonzeroFloat32
	}
	if !(largest < inf) {
		scale = float32(math.NaN())
	}
	putFloat(dst, scale/unit)
	out := dst[4:][:n]
	if !(scale > 0) {
		clear(out)
		return dst[4+n:]
	}
	var codes [int4Block]byte
	Int8.encodeCodes(codes[:], block, scale, largestInt4)
	for i := range out {
		out[i] = codes[2*i]&15 | codes[2*i+1]<<4
	}
	return dst[4+n:]
}

// decodeInt4 reads a block, times unit, and returns the rest of src.
func decodeInt4(block []float32, src []byte, unit float32) []byte {
	n := blocks(len(block), 2)
	var codes [int4Block]byte
	for i, b := range src[4 : 4+n] {
		codes[2*i], codes[2*i+1] = byte(int8(b<<4)>>4), byte(int8(b)>>4)
	}
	Int8.decodeCodes(block, codes[:], float(src)*unit)
	return src[4+n:]
}
