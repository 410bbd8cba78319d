package quant

import "github.com/switchyard-moe/switchyard/internal/hadamard"

// Rows whose blocks of 64 numbers are multiplied by the Hadamard matrix in Sylvester's order over
// √64 before they are rounded, and again, which is the inverse, once they are read: a single large
// number is spread over its block, by which the others keep more of their bits. What is behind the
// last whole block is not rotated. A NaN or an infinity makes the whole block of 64 NaN or
// infinite, and so do numbers above 2¹²² or so, whose sums are infinite.

// rotatedShift is log2 of √64: sums of a block are 2^rotatedShift times what is rounded.
const rotatedShift = 3

// plain is the format of the rotated rows.
func (f Format) plain() Format { return f - MXFP4H + MXFP4 }

// encodeRotated writes a row in MXFP4H, NVFP4H or Int4H.
func (f Format) encodeRotated(dst []byte, row []float32) {
	tensor := float32(0)
	if f == NVFP4H { // no number grows by more than √64
		tensor = rowScale(row) * (1 << rotatedShift)
		putFloat(dst, tensor)
		dst = dst[nvHead:]
	}
	var sums [chunk]float32
	for whole := len(row) &^ (hadamard.Block - 1); whole > 0; {
		n := copy(sums[:], row[:min(whole, chunk)])
		hadamard.Blocks(sums[:n])
		f.encodeSums(dst, sums[:n], tensor)
		dst, row, whole = dst[f.Bytes(n)-f.Bytes(0):], row[n:], whole-n
	}
	if f == NVFP4H {
		encodeNVFP4(dst, row, tensor)
		return
	}
	f.plain().encodePlain(dst, row)
}

// encodeSums writes whole blocks that have been rotated, over √64.
func (f Format) encodeSums(dst []byte, sums []float32, tensor float32) {
	switch f {
	case MXFP4H:
		encodeMXFP4(dst, sums, rotatedShift)
	case NVFP4H:
		encodeNVFP4(dst, sums, tensor*(1<<rotatedShift))
	default:
		eachBlock(sums, int4Block, func(block []float32) { dst = encodeInt4(dst, block, 1<<rotatedShift) })
	}
}

// decodeRotated reads what encodeRotated has written.
func (f Format) decodeRotated(row []float32, src []byte) {
	whole := len(row) &^ (hadamard.Block - 1)
	tensor := float32(1)
	if f == NVFP4H {
		tensor = float(src)
		src = src[nvHead:]
	}
	body := f.Bytes(whole) - f.Bytes(0)
	f.decodeBlocks(row[:whole], src[:body], tensor/(1<<rotatedShift))
	f.decodeBlocks(row[whole:], src[body:], tensor)
	hadamard.Blocks(row[:whole])
}

// decodeBlocks reads blocks as they are, times unit.
func (f Format) decodeBlocks(row []float32, src []byte, unit float32) {
	if f == NVFP4H {
		decodeFP4(row, src, nvBlock, unit)
		return
	}
	f.plain().decodePlain(row, src, unit)
}
