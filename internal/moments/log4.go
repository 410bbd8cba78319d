package moments

import (
	"encoding/binary"
	"math"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/quant"
)

// Log4 writes number x of a block whose largest is a as the code c from 1 to 15 for which
// a·r^(c-15) is the nearest to x in its logarithm. The ratio r is the power of 2^(1/64) for which
// code 1 is nearest to the least number that is not 0, which therefore does not drift from update
// to update. Code 0 is 0, and nothing else: a second moment that is not 0 does not become 0, as Li,
// Chen and Zhu 2023 require (arXiv 2309.01507), and its relative error, which is that of updates,
// is the same for large and small ones. Numbers below 2^-56 of the largest are taken for that. A
// block is a, a byte for r, and codes.

const (
	mostLog4 = 15
	gaps     = mostLog4 - 1
	octave   = 64 // parts of one, of which r has some
)

// log4Head writes what stands before the codes of a block: the largest number a, which it returns
// with the least above 0, and the octaves of r. A block without numbers above 0, or of NaN, is then
// complete, and the octaves are 0.
func log4Head(dst []byte, block []float32) (a, least, octaves float32) {
	a = quant.Largest(block)
	if !(a <= math.MaxFloat32) {
		a = float32(math.NaN())
	}
	binary.LittleEndian.PutUint32(dst, math.Float32bits(a))
	if !(a > 0) {
		clear(dst[4:])
		return a, 0, 0
	}
	least = leastIn(block)
	span := f32.Log2(a) - f32.Log2(least)
	n := int(float32(span*(octave/float32(gaps))) + 0.5)
	dst[4] = byte(min(max(n, 1), math.MaxUint8+1) - 1)
	return a, least, octavesOf(dst[4])
}

// octavesOf is log2 r of a block's byte.
func octavesOf(b byte) float32 { return (float32(b) + 1) / octave }

func encodeLog4(dst []byte, block []float32) {
	a, _, octaves := log4Head(dst, block)
	if octaves > 0 {
		least := log4Least(a, octaves, 0.5)
		encode4(dst[Log4.head():], block, least[:])
	}
}

func encodeDitheredLog4(dst []byte, block []float32, d dither) {
	a, smallest, octaves := log4Head(dst, block)
	if octaves == 0 {
		return
	}
	var room [Block]float32
	lowered := room[:len(block)]
	d.lower(lowered, block, octaves)
	if smallest < 0x1p-140 {
		restore(lowered, block)
	}
	least := log4Least(a, octaves, 0)
	encode4(dst[Log4.head():], lowered, least[:])
}

// log4Least are the least numbers of codes 1 to 15: all that is not 0, and for the others up to
// what part of the ratio above the code before.
func log4Least(a, octaves, above float32) (least [mostLog4]float32) {
	least[0] = math.SmallestNonzeroFloat32
	for c := 1; c < mostLog4; c++ {
		least[c] = a * f32.Exp2(float32(octaves*(float32(c-mostLog4)+above)))
	}
	return least
}

func decodeLog4(block []float32, src []byte) {
	a := math.Float32frombits(binary.LittleEndian.Uint32(src))
	if a != a {
		fill(block, a)
		return
	}
	var values [16]float32
	for c := 1; c <= mostLog4; c++ {
		values[c] = a * f32.Exp2(float32(octavesOf(src[4])*float32(c-mostLog4)))
	}
	decode4(block, src[Log4.head():], &values)
}

// restore gives lowered numbers that have become 0, as float32 has none so small, the least above
// it.
func restore(lowered, block []float32) {
	for i, v := range block {
		if v > 0 && lowered[i] == 0 {
			lowered[i] = math.SmallestNonzeroFloat32
		}
	}
}
