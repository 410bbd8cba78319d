package moments

import (
	"encoding/binary"
	"math"

	"github.com/switchyard-moe/switchyard/internal/quant"
)

// Int4 writes number x of a block whose largest magnitude is a as the integer nearest to 7·√(|x|/a)
// with x's sign: range expansion by the power ½, since most first moments are far below the
// largest. A block is a, and codes in two's complement, the first of a pair in the lower half of
// its byte.

const largestInt4 = 7

func encodeInt4(dst []byte, block []float32) {
	a := quant.Largest(block)
	if !(a <= math.MaxFloat32) {
		a = float32(math.NaN())
	}
	binary.LittleEndian.PutUint32(dst, math.Float32bits(a))
	if !(a > 0) {
		clear(dst[Int4.head():])
		return
	}
	var least [largestInt4]float32
	for c := range least {
		half := (float32(c) + 0.5) / largestInt4
		least[c] = max(a*float32(half*half), math.SmallestNonzeroFloat32) // 0 stays 0
	}
	encode4(dst[Int4.head():], block, least[:])
}

func decodeInt4(block []float32, src []byte) {
	a := math.Float32frombits(binary.LittleEndian.Uint32(src))
	var values [16]float32
	for code := range values {
		root := float32(int8(code<<4)>>4) / largestInt4
		values[code] = a * float32(root*float32(math.Abs(float64(root))))
	}
	decode4(block, src[Int4.head():], &values)
}
