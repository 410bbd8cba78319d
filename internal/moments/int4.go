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
	a, codes := quant.Largest(block), dst[Int4.head():]
	if !(a <= math.MaxFloat32) {
		a = float32(math.NaN())
	}
	binary.LittleEndian.PutUint32(dst, math.Float32bits(a))
	clear(codes)
	if !(a > 0) {
		return
	}
	// least[c] is the least part of a whose code is above c.
	var least [largestInt4]float32
	for c := range least {
		half := (float32(c) + 0.5) / largestInt4
		least[c] = float32(half * half)
	}
	for i, v := range block {
		codes[i/2] |= int4(v/a, &least) << (4 * (i % 2))
	}
}

// int4 is the code of a part of a.
func int4(part float32, least *[largestInt4]float32) byte {
	magnitude := math.Float32frombits(math.Float32bits(part) &^ (1 << 31))
	code := int8(0)
	for _, l := range least {
		if magnitude >= l {
			code++
		}
	}
	if part < 0 {
		code = -code
	}
	return byte(code) & 15
}

func decodeInt4(block []float32, src []byte) {
	a := math.Float32frombits(binary.LittleEndian.Uint32(src))
	var values [16]float32
	for code := range values {
		root := float32(int8(code<<4)>>4) / largestInt4
		values[code] = a * float32(root*float32(math.Abs(float64(root))))
	}
	lookUp(block, src[Int4.head():], &values)
}

// lookUp reads codes in pairs.
func lookUp(block []float32, codes []byte, values *[16]float32) {
	for i := range block {
		block[i] = values[codes[i/2]>>(4*(i%2))&15]
	}
}
