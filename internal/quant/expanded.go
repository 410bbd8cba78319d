package quant

import (
	"encoding/binary"
	"math"
	"sort"
	"sync/atomic"
)

// FP8Expanded is E4M3 of powers, by COAT's dynamic range expansion (Xi et al. 2024, arXiv
// 2410.19313): of a block whose largest magnitude is a, and the least that is not 0 is b, number x
// is written as 448·(|x|/a)^k with x's sign, where k takes a/b to the range of E4M3, 448²/2,
// rounded down to a sixteenth. COAT centres on √(ab) first, which cancels. A block is a, a byte for
// k, and the codes.

const (
	expandedHead = 5  // bytes before a block's codes
	sixteenths   = 16 // of k
	mostK        = 16 // where all numbers of a block are nearly equal
	codes        = 127
)

// expansion is what codes stand for under one k, over a, ascending: code i is the i-th magnitude of
// E4M3.
type expansion struct {
	values [codes]float32
	// least is the least number that has the code: half way, as powers, from the one before.
	least [codes]float32
}

var expansions [sixteenths * mostK]atomic.Pointer[expansion]

// expansionOf returns that of the exponent (step+1)/16.
func expansionOf(step byte) *expansion {
	if e := expansions[step].Load(); e != nil {
		return e
	}
	e, inverse := new(expansion), sixteenths/float64(int(step)+1)
	for c := range codes {
		v := float64(e4m3Values[c])
		e.values[c] = float32(math.Pow(v/largestE4M3, inverse))
		if c > 0 {
			half := (v + float64(e4m3Values[c-1])) / 2
			e.least[c] = float32(math.Pow(half/largestE4M3, inverse))
		}
	}
	expansions[step].Store(e)
	return e
}

// stepFor is that of the exponent for a block.
func stepFor(largest, least float32) byte {
	span := math.Log2(float64(largest) / float64(least))
	k := float64(mostK)
	if span > 0 {
		k = min(math.Log2(largestE4M3*largestE4M3/2)/span, mostK)
	}
	return byte(max(math.Floor(k*sixteenths), 1) - 1)
}

func encodeExpanded(dst []byte, block []float32) []byte {
	largest := largestIn(block)
	if !(largest < inf) {
		largest = float32(math.NaN())
	}
	binary.LittleEndian.PutUint32(dst, math.Float32bits(largest))
	out := dst[expandedHead:][:len(block)]
	rest := dst[expandedHead+len(block):]
	dst[4] = 0
	if !(largest > 0) {
		clear(out)
		return rest
	}
	least := largest
	for _, v := range block {
		if a := abs(v); a > 0 && a < least {
			least = a
		}
	}
	dst[4] = stepFor(largest, least)
	e := expansionOf(dst[4])
	for i, v := range block {
		part := abs(v) / largest
		c := sort.Search(codes, func(c int) bool { return e.least[c] > part }) - 1
		out[i] = byte(math.Float32bits(v)>>24)&0x80 | byte(c)
	}
	return rest
}

func decodeExpanded(block []float32, src []byte) []byte {
	largest := math.Float32frombits(binary.LittleEndian.Uint32(src))
	e := expansionOf(src[4])
	src = src[expandedHead:]
	for i, b := range src[:len(block)] {
		v := float32(math.NaN())
		if c := b & 0x7f; c < codes {
			v = largest * e.values[c]
		}
		block[i] = math.Float32frombits(math.Float32bits(v) | uint32(b&0x80)<<24)
	}
	return src[len(block):]
}
