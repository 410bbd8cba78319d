package moments

import (
	"encoding/binary"
	"math"

	"github.com/switchyard-moe/switchyard/internal/quant"
)

// Log4 writes number x of a block whose largest is a as the code c from 1 to 15 for which
// a·r^(c-15) is the nearest to x in its logarithm. The ratio r is the least power of 2^(1/16) for
// which code 1 is at most the least number that is not 0. Code 0 is 0, and nothing else: a second
// moment that is not 0 does not become 0, as Li, Chen and Zhu 2023 require (arXiv 2309.01507), and
// its relative error, which is that of updates, is the same for large and small ones. A block is a,
// a byte for r, and codes, the first of a pair in the lower half of its byte. A number below 0 is
// written as
// 0.

const (
	mostLog4 = 15
	gaps     = mostLog4 - 1
	// parts of an octave that thresholds stand on: half of those of r
	octave = 32
)

// octaves are 2^(-i/32).
var octaves = [octave]float32{
	1, 0.978572071, 0.957603276, 0.93708384, 0.917004049, 0.897354543, 0.878126085, 0.859309673,
	0.840896428, 0.822877765, 0.805245161, 0.787990451, 0.771105409, 0.754582226, 0.738413095, 0.722590387,
	0.707106769, 0.69195497, 0.677127779, 0.662618339, 0.648419797, 0.634525478, 0.620928884, 0.607623696,
	0.594603539, 0.58186245, 0.56939429, 0.557193398, 0.545253873, 0.53357023, 0.522136867, 0.510948598,
}

// down is a·2^(-n/32) for n up to that of the least code of the largest ratio.
func down(a float32, n int) float32 {
	halvings := n / octave
	return float32(float32(a*octaves[n%octave])*half(halvings/2)) * half(halvings-halvings/2)
}

// half is 2^-n of a normal number.
func half(n int) float32 { return math.Float32frombits(uint32(127-n) << 23) }

// log4Step is the byte for r, whose power of 2^(1/16) is one more: the least by which b is at least
// code 1.
func log4Step(a, b float32) byte {
	low, high := 0, math.MaxUint8
	for low < high {
		if middle := (low + high) / 2; down(a, 2*gaps*(middle+1)) <= b {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return byte(low)
}

func encodeLog4(dst []byte, block []float32) {
	a := quant.Largest(block)
	if !(a <= math.MaxFloat32) {
		a = float32(math.NaN())
	}
	binary.LittleEndian.PutUint32(dst, math.Float32bits(a))
	if !(a > 0) {
		clear(dst[4:])
		return
	}
	dst[4] = log4Step(a, leastIn(block))
	// The first threshold has all that is not 0 reach code 1.
	least := [mostLog4]float32{math.SmallestNonzeroFloat32}
	for c := 1; c < mostLog4; c++ {
		least[c] = down(a, (2*(mostLog4-c)-1)*(int(dst[4])+1))
	}
	encode4(dst[Log4.head():], block, least[:])
}

func decodeLog4(block []float32, src []byte) {
	a := math.Float32frombits(binary.LittleEndian.Uint32(src))
	if a != a {
		fill(block, a)
		return
	}
	var values [16]float32
	for c := 1; c <= mostLog4; c++ {
		values[c] = down(a, 2*(mostLog4-c)*(int(src[4])+1))
	}
	decode4(block, src[Log4.head():], &values)
}
