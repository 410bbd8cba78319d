// Package moments writes vectors of optimizers in blocks of few bits, and reads them back. What
// comes of a block depends on its numbers alone, and is the same on every processor.
package moments

import (
	"fmt"
	"math"
)

// Format is a way to write a vector.
type Format int

const (
	// FP8 is E4M3 of powers of the numbers: COAT's dynamic range expansion.
	FP8 Format = iota
	// Int4 is integers from -7 to 7 of square roots of magnitudes, for the first moment.
	Int4
	// Log4 is 15 powers of a ratio, and 0, for the second moment, of which no number is below 0.
	Log4
)

// Block is how many numbers share a scale.
const Block = 128

// String returns the format's name.
func (f Format) String() string {
	switch f {
	case FP8:
		return "fp8"
	case Int4:
		return "int4"
	case Log4:
		return "log4"
	}
	return fmt.Sprintf("Format(%d)", int(f))
}

// head is the bytes of a block before its codes.
func (f Format) head() int {
	if f == Int4 {
		return 4
	}
	return 5
}

// Bytes is the length of n numbers.
func (f Format) Bytes(n int) int {
	codes := n
	if f != FP8 {
		full, rest := n/Block, n%Block
		codes = full*Block/2 + (rest+1)/2
	}
	return codes + f.head()*((n+Block-1)/Block)
}

// Encode writes x to dst, which is Bytes(len(x)) long. A block of zeros is bytes of zeros. A NaN or
// an infinity makes its whole block NaN.
func (f Format) Encode(dst []byte, x []float32) {
	for len(x) > 0 {
		block := x[:min(Block, len(x))]
		n := f.Bytes(len(block))
		switch f {
		case FP8:
			encodeFP8(dst[:n], block)
		case Int4:
			encodeInt4(dst[:n], block)
		default:
			encodeLog4(dst[:n], block)
		}
		x, dst = x[len(block):], dst[n:]
	}
}

// Decode reads len(x) numbers from src, whatever bytes those are.
func (f Format) Decode(x []float32, src []byte) {
	for len(x) > 0 {
		block := x[:min(Block, len(x))]
		n := f.Bytes(len(block))
		switch f {
		case FP8:
			decodeFP8(block, src[:n])
		case Int4:
			decodeInt4(block, src[:n])
		default:
			decodeLog4(block, src[:n])
		}
		x, src = x[len(block):], src[n:]
	}
}

// fill sets all numbers of a block.
func fill(block []float32, v float32) {
	for i := range block {
		block[i] = v
	}
}

// leastIn returns the least magnitude of a block that is not 0; the block has one.
func leastIn(block []float32) float32 {
	least, done := leastBits(block)
	for _, v := range block[done:] {
		least = min(least, math.Float32bits(v)<<1-1) // of 0 the largest
	}
	return math.Float32frombits((least + 1) >> 1)
}
