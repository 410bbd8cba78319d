//go:build amd64 && !purego

package quant

import "github.com/switchyard-moe/switchyard/internal/cpu"

//go:noescape
func maxima16AVX2(dst *uint32, src *float32, n int)

//go:noescape
func nvScalesAVX2(code *byte, factor *float32, largest *uint32, tensor, inverse float32, n int)

//go:noescape
func mxfp4EncodeAVX2(dst *byte, src *float32, code *byte, factor *float32, n int)

//go:noescape
func nvfp4EncodeAVX2(dst *byte, src *float32, code *byte, factor *float32, n int)

//go:noescape
func fp4DecodeAVX2(dst *float32, src *byte, scales *[256]float32, unit float32, two bool, n int)

//go:noescape
func fp4DecodeAVX512(dst *float32, src *byte, scales *[256]float32, unit float32, two bool, n int)

//go:noescape
func int4EncodeAVX2(dst *byte, src *float32, scale, top float32, n int)

//go:noescape
func int4DecodeAVX2(dst *float32, src *byte, unit float32, n int)

// maxima16 does a multiple of eight groups of a chunk, and returns how many.
func maxima16(g *groups, row []float32) int {
	n := whole(len(row), 128)
	if n > 0 {
		maxima16AVX2(&g.largest[0], &row[0], n)
	}
	return n / nvBlock
}

// nvScales does a multiple of 8 of n groups, and returns how many.
func nvScales(g *groups, tensor float32, n int) int {
	n = whole(n, 8)
	if n > 0 {
		nvScalesAVX2(&g.code[0], &g.factor[0], &g.largest[0], tensor, 1/tensor, n)
	}
	return n
}

// encode4 does blocks of 32 numbers or pairs of blocks of 16, and returns how many blocks.
func encode4(dst []byte, row []float32, g *groups, block int) int {
	n := whole(len(row), 32)
	switch {
	case n == 0:
	case block == mxBlock:
		mxfp4EncodeAVX2(&dst[0], &row[0], &g.code[0], &g.factor[0], n/32)
	default:
		nvfp4EncodeAVX2(&dst[0], &row[0], &g.code[0], &g.factor[0], n/32)
	}
	return n / block
}

// decode4 does whole blocks, and returns how many.
func decode4(row []float32, src []byte, scales *[256]float32, unit float32, block int) int {
	n := whole(len(row), block)
	switch {
	case n == 0:
	case cpu.Has(needs | cpu.AVX512F):
		fp4DecodeAVX512(&row[0], &src[0], scales, unit, block == mxBlock, n/block)
	default:
		fp4DecodeAVX2(&row[0], &src[0], scales, unit, block == mxBlock, n/block)
	}
	return n / block
}

// encodeInts does a multiple of 32 numbers, and returns how many bytes those are.
func encodeInts(dst []byte, block []float32, scale float32) int {
	n := whole(len(block), 32)
	if n > 0 {
		int4EncodeAVX2(&dst[0], &block[0], scale, largestInt4, n)
	}
	return n / 2
}

// decodeInts does whole blocks, and returns how many.
func decodeInts(row []float32, src []byte, unit float32) int {
	n := whole(len(row), int4Block) / int4Block
	if n > 0 {
		int4DecodeAVX2(&row[0], &src[0], unit, n)
	}
	return n
}
