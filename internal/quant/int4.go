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
	for i := encodeInts(out, block, scale); i < n; i++ {
		out[i] = int4(block[2*i] / scale)
		if 2*i+1 < len(block) {
			out[i] |= int4(block[2*i+1]/scale) << 4
		}
	}
	return dst[4+n:]
}

// int4 rounds a number to even, between −7 and 7.
func int4(q float32) byte {
	return byte(int8(math.RoundToEven(float64(min(max(q, -largestInt4), largestInt4))))) & 15
}

// decodeInt4 reads blocks, times unit.
func decodeInt4(row []float32, src []byte, unit float32) {
	done := decodeInts(row, src, unit)
	row, src = row[done*int4Block:], src[done*(4+int4Block/2):]
	eachBlock(row, int4Block, func(block []float32) {
		scale := float(src) * unit
		for i := range block {
			block[i] = scale * float32(int8(src[4+i/2]>>(4*(i%2))<<4)>>4)
		}
		src = src[4+blocks(len(block), 2):]
	})
}
