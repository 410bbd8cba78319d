//go:build amd64 && !purego

package hadamard

import (
	"math/bits"

	"github.com/switchyard-moe/switchyard/internal/cpu"
)

// level is how wide the vectors of a kernel are.
type level int

const (
	levelGo level = iota
	levelAVX2
	levelAVX512
)

// What the kernels need.
const (
	needsAVX2   = cpu.AVX2 | cpu.FMA
	needsAVX512 = cpu.AVX512F
)

// widest returns the widest vectors that the kernels may use.
func widest() level {
	switch {
	case cpu.Has(needsAVX512):
		return levelAVX512
	case cpu.Has(needsAVX2):
		return levelAVX2
	}
	return levelGo
}

// A pass of radix r does the butterflies of log2(r) strides at once, on registers. Those called
// signed also turn signs around on the way from src to dst; the others work in place. n is the
// number of elements, at least r times the elements of a register.

//go:noescape
func signed2AVX512(dst, src *float32, signs *uint32, n int)

//go:noescape
func signed4AVX512(dst, src *float32, signs *uint32, n int)

//go:noescape
func signed8AVX512(dst, src *float32, signs *uint32, n int)

//go:noescape
func signed16AVX512(dst, src *float32, signs *uint32, n int)

//go:noescape
func plain16AVX512(x *float32, n int)

//go:noescape
func signed2AVX2(dst, src *float32, signs *uint32, n int)

//go:noescape
func signed4AVX2(dst, src *float32, signs *uint32, n int)

//go:noescape
func signed8AVX2(dst, src *float32, signs *uint32, n int)

//go:noescape
func plain8AVX2(x *float32, n int)

// blocks does the butterflies of the strides below Block.

//go:noescape
func blocksAVX512(x *float32, n int)

//go:noescape
func blocksAVX2(x *float32, n int)

//go:noescape
func halveAVX512(dst, src *float32, signs *uint32, n int)

//go:noescape
func halveAVX2(dst, src *float32, signs *uint32, n int)

// prefetch asks for the lines of n elements.
//
//go:noescape
func prefetch(x *float32, n int)

// Prefetch asks the memory for x, which is about to be read; nothing waits for it.
func Prefetch(x []float32) {
	if len(x) > 0 {
		prefetch(&x[0], len(x))
	}
}

// fold is four times halve.

//go:noescape
func foldAVX512(dst, src *float32, signs *uint32, n int)

//go:noescape
func foldAVX2(dst, src *float32, signs *uint32, n int)

func transform(dst, src []float32, signs []uint32) {
	n := len(src)
	if widest() == levelGo || n == Block {
		flip(dst, src, signs)
		plain(dst)
		return
	}
	first := leading(n)
	signed(first, &dst[0], &src[0], &signs[0], n)
	rest(dst, n>>first)
}

// leading is the number of strides of the first pass over n elements, which leaves whole passes of
// the largest radix.
func leading(n int) int {
	strides := bits.Len(uint(n/Block)) - 1
	if widest() == levelAVX512 {
		return (strides-1)%4 + 1
	}
	return (strides-1)%3 + 1
}

// signed is the pass of a number of strides.
func signed(strides int, dst, src *float32, signs *uint32, n int) {
	wide := widest() == levelAVX512
	switch {
	case wide && strides == 1:
		signed2AVX512(dst, src, signs, n)
	case wide && strides == 2:
		signed4AVX512(dst, src, signs, n)
	case wide && strides == 3:
		signed8AVX512(dst, src, signs, n)
	case wide:
		signed16AVX512(dst, src, signs, n)
	case strides == 1:
		signed2AVX2(dst, src, signs, n)
	case strides == 2:
		signed4AVX2(dst, src, signs, n)
	default:
		signed8AVX2(dst, src, signs, n)
	}
}

// rest does the butterflies of the strides below n, a length that whole passes bring down to a
// block.
func rest(x []float32, n int) {
	if widest() == levelAVX512 {
		for ; n > Block; n /= 16 {
			for b := 0; b < len(x); b += n {
				plain16AVX512(&x[b], n)
			}
		}
		blocksAVX512(&x[0], len(x))
		return
	}
	for ; n > Block; n /= 8 {
		for b := 0; b < len(x); b += n {
			plain8AVX2(&x[b], n)
		}
	}
	blocksAVX2(&x[0], len(x))
}

// blocks does all butterflies of blocks, one or more.
func blocks(x []float32) {
	switch widest() {
	case levelAVX512:
		blocksAVX512(&x[0], len(x))
	case levelAVX2:
		blocksAVX2(&x[0], len(x))
	default:
		blocksGeneric(x)
	}
}

// plain transforms x without signs. It is for fronts, which are short, so there are no kernels for
// what whole passes leave.
func plain(x []float32) {
	if widest() == levelGo {
		plainGeneric(x)
		return
	}
	n := len(x)
	if n > Block {
		n >>= leading(n)
		butterflies(x, n)
	}
	rest(x, n)
}

// halve sets dst to what the first element of each pair becomes in the butterflies of the largest
// strides: of one, or of four if dst is short enough. It returns how many elements of dst that are.
func halve(dst, src []float32, signs []uint32, m int) int {
	n := len(src)
	four := n/m >= 16
	switch {
	case four && widest() == levelAVX512:
		foldAVX512(&dst[0], &src[0], &signs[0], n)
	case four && widest() == levelAVX2:
		foldAVX2(&dst[0], &src[0], &signs[0], n)
	case widest() == levelAVX512:
		halveAVX512(&dst[0], &src[0], &signs[0], n)
	case widest() == levelAVX2:
		halveAVX2(&dst[0], &src[0], &signs[0], n)
	default:
		halveGeneric(dst[:n/2], src, signs)
		return n / 2
	}
	if four {
		return n / 16
	}
	return n / 2
}
