package moments

import (
	"encoding/binary"
	"math"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/quant"
)

// FP8 follows COAT's dynamic range expansion (Xi et al. 2024, arXiv 2410.19313). Of a block whose
// largest magnitude is a, and the least that is not 0 is b, number x is written as E4M3 of
// 448·(|x|/a)^k with x's sign, where k takes a/b to the range of E4M3, 448²/2, rounded down to a
// sixteenth. COAT centres on √(ab) first, which cancels. A block is a, a byte for k, and the codes.
//
// What is above 0 has a code above 0. So no second moment becomes 0 beside a first moment that does
// not, by whose root an update would be divided.

const (
	sixteenths = 16 // of k
	// leastStep is k of 3/16, of which the inverse takes the least code to a number above 0. A span
	// that needs less is above 2^88.
	leastStep = 2
	mostStep  = math.MaxUint8 // k of 16, where all numbers of a block are nearly equal
)

// logRange is log2(448²/2).
const logRange = 16.6147

// exponent is k of a block's byte.
func exponent(step byte) float32 { return float32(int(step)+1) / sixteenths }

// stepOf is the byte for k of a block whose magnitudes have logarithms of this span.
func stepOf(span float32) byte {
	if !(span > logRange/((mostStep+1)/sixteenths)) {
		return mostStep
	}
	return byte(max(int(sixteenths*logRange/span)-1, leastStep))
}

func encodeFP8(dst []byte, block []float32) { encodePowers(dst, block, func([]float32) {}) }

func encodeDitheredFP8(dst []byte, block []float32, d dither) { encodePowers(dst, block, d.powers) }

// encodePowers writes a block whose powers, between -448 and 448, change in some way before they
// are rounded to nearest.
func encodePowers(dst []byte, block []float32, change func(powers []float32)) {
	a, codes := quant.Largest(block), dst[FP8.head():]
	if !(a <= math.MaxFloat32) {
		a = float32(math.NaN())
	}
	binary.LittleEndian.PutUint32(dst, math.Float32bits(a))
	if !(a > 0) {
		clear(dst[4:])
		return
	}
	p := f32.PowerOf{Log2: f32.Log2(a), Factor: quant.LargestE4M3}
	dst[4] = stepOf(p.Log2 - f32.Log2(leastIn(block)))
	p.Exponent = exponent(dst[4])
	var room [Block]float32
	powers := room[:len(block)]
	p.Apply(powers, block)
	change(powers)
	quant.EncodeE4M3(codes, powers)
	raise(codes, block)
}

// raise gives the least code to numbers that are not 0 but have its code.
func raise(codes []byte, block []float32) {
	for i, v := range block {
		if v != 0 && codes[i]&0x7f == 0 {
			codes[i]++
		}
	}
}

func decodeFP8(block []float32, src []byte) {
	a := math.Float32frombits(binary.LittleEndian.Uint32(src))
	if a != a {
		fill(block, a)
		return
	}
	quant.DecodeE4M3(block, src[FP8.head():])
	(&f32.PowerOf{Log2: f32.Log2(quant.LargestE4M3), Exponent: 1 / exponent(src[4]), Factor: a}).Apply(block, block)
}
