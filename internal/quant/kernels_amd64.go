//go:build amd64 && !purego

package quant

import "github.com/switchyard-moe/switchyard/internal/cpu"

// needs is what the kernels use; they have the bits of the Go code. Every processor with AVX2
// converts binary16. Vectors of sixteen elements would gain nothing: the kernels are as fast as
// memory.
const needs = cpu.AVX2 | cpu.FMA

//go:noescape
func bf16EncodeAVX2(dst *byte, src *float32, n int)

//go:noescape
func bf16DecodeAVX2(dst *float32, src *byte, n int)

//go:noescape
func fp16EncodeAVX2(dst *byte, src *float32, n int)

//go:noescape
func fp16DecodeAVX2(dst *float32, src *byte, n int)

//go:noescape
func largestAVX2(src *float32, n int) float32

//go:noescape
func fp8EncodeAVX2(dst *byte, src *float32, scale, top float32, n int)

//go:noescape
func int8EncodeAVX2(dst *byte, src *float32, scale, top float32, n int)

//go:noescape
func fp8DecodeAVX2(dst *float32, src *byte, scale float32, n int)

//go:noescape
func int8DecodeAVX2(dst *float32, src *byte, scale float32, n int)

// whole returns how many of n elements kernels do, a multiple of step.
func whole(n, step int) int {
	if !cpu.Has(needs) {
		return 0
	}
	return n &^ (step - 1)
}

// encode16 and decode16 do a multiple of 16 numbers, and return how many.

func encode16(f Format, dst []byte, row []float32) int {
	n := whole(len(row), 16)
	switch {
	case n == 0:
	case f == BF16:
		bf16EncodeAVX2(&dst[0], &row[0], n)
	default:
		fp16EncodeAVX2(&dst[0], &row[0], n)
	}
	return n
}

func decode16(f Format, row []float32, src []byte) int {
	n := whole(len(row), 16)
	switch {
	case n == 0:
	case f == BF16:
		bf16DecodeAVX2(&row[0], &src[0], n)
	default:
		fp16DecodeAVX2(&row[0], &src[0], n)
	}
	return n
}

// largestOf returns the largest magnitude of a multiple of 16 numbers, and how many those are.
func largestOf(block []float32) (float32, int) {
	n := whole(len(block), 16)
	if n == 0 {
		return 0, 0
	}
	return largestAVX2(&block[0], n), n
}

// encode8 does a multiple of 32 numbers, and returns how many.
func encode8(f Format, dst []byte, block []float32, scale, top float32) int {
	n := whole(len(block), 32)
	switch {
	case n == 0:
	case f == Int8:
		int8EncodeAVX2(&dst[0], &block[0], scale, top, n)
	default:
		fp8EncodeAVX2(&dst[0], &block[0], scale, top, n)
	}
	return n
}

// decode8 does a multiple of 8 numbers, and returns how many.
func decode8(f Format, block []float32, src []byte, scale float32) int {
	n := whole(len(block), 8)
	switch {
	case n == 0:
	case f == Int8:
		int8DecodeAVX2(&block[0], &src[0], scale, n)
	default:
		fp8DecodeAVX2(&block[0], &src[0], scale, n)
	}
	return n
}
