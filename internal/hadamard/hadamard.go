// Package hadamard holds fast Walsh–Hadamard transforms with signs, whose results are defined to
// the bit: every butterfly is one sum and one difference, each rounded once, and butterflies go by
// stride, the largest first. There are kernels for AVX-512 and AVX2 and a version in Go; the build
// tag purego leaves only that version. The payload of a NaN is the one thing left open.
package hadamard

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Block is the least length of a vector here. All lengths are powers of two.
const Block = 64

// Sign is the mask that turns an element's sign around; the other mask is 0.
const Sign = 1 << 31

// Transform sets dst = H·(src with the signs of signs turned around), where H is the Hadamard
// matrix of ±1 in the natural order: element (i, j) is -1 to the number of ones that i and j have
// in common. dst may be src. Elements grow by √len on average: nothing is divided.
//
// Butterflies join elements len/2 apart, then len/4, down to 1: (a, b) become (a+b, a-b).
func Transform(dst, src []float32, signs []uint32) {
	n := check(len(src))
	same(n, len(dst), len(signs))
	transform(dst, src, signs)
}

// Blocks transforms each [Block] elements of x in place, without signs. The length of x, which may
// be 0, is a multiple of Block.
func Blocks(x []float32) {
	if len(x)%Block != 0 {
		panic(fmt.Sprintf("hadamard: length %d, want a multiple of %d", len(x), Block))
	}
	if len(x) > 0 {
		blocks(x)
	}
}

// blocksGeneric is Blocks without kernels.
func blocksGeneric(x []float32) {
	for ; len(x) > 0; x = x[Block:] {
		plainGeneric(x[:Block])
	}
}

// Front sets dst to the first len(dst) elements of what [Transform] makes of src, which costs
// little more than reading src when dst is short. scratch is memory of len(src) elements; the three
// must not overlap.
func Front(dst, src []float32, signs []uint32, scratch []float32) {
	n, m := check(len(src)), check(len(dst))
	same(n, len(signs), len(scratch))
	switch {
	case m > n:
		panic(fmt.Sprintf("hadamard: the first %d of %d elements", m, n))
	case m == n:
		transform(dst, src, signs)
		return
	}
	for n = halve(scratch, src, signs, m); n > m; n /= 2 {
		f32.Add(scratch[:n/2], scratch[n/2:n])
	}
	copy(dst, scratch[:m])
	plain(dst)
}

// check panics unless n is a length of vectors here.
func check(n int) int {
	if n < Block || n&(n-1) != 0 {
		panic(fmt.Sprintf("hadamard: length %d, want a power of two from %d", n, Block))
	}
	return n
}

func same(n int, others ...int) {
	for _, m := range others {
		if m != n {
			panic(fmt.Sprintf("hadamard: lengths %d and %d differ", n, m))
		}
	}
}
