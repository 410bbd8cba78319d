//go:build amd64 && !purego

package moments

import "github.com/switchyard-moe/switchyard/internal/cpu"

// The kernels do as many numbers as they can, and return how many; the bits are those of the Go
// code, which does the rest.

//go:noescape
func codes4AVX2(dst *byte, src *float32, least *float32, count, n int)

//go:noescape
func values4AVX2(dst *float32, src *byte, values *float32, n int)

//go:noescape
func leastAVX2(src *float32, n int) uint32

// whole returns how many of n numbers kernels do, a multiple of step.
func whole(n, step int) int {
	if !cpu.Has(cpu.AVX2) {
		return 0
	}
	return n &^ (step - 1)
}

func codes4(dst []byte, block, least []float32) int {
	n := whole(len(block), 32)
	if n > 0 {
		codes4AVX2(&dst[0], &block[0], &least[0], len(least), n)
	}
	return n
}

func values4(block []float32, src []byte, values *[16]float32) int {
	n := whole(len(block), 8)
	if n > 0 {
		values4AVX2(&block[0], &src[0], &values[0], n)
	}
	return n
}

// leastBits is the least of magnitudes as leastIn has it.
func leastBits(block []float32) (least uint32, n int) {
	if n = whole(len(block), 8); n == 0 {
		return 1<<32 - 1, 0
	}
	return leastAVX2(&block[0], n), n
}
