//go:build amd64 && !purego

package gemm

import "golang.org/x/sys/cpu"

// The kernels in assembly; [kernel] says what each computes, its name says the tile's rows and columns. The
// twin of all of them is tile2x4.

//go:noescape
func tile12x32AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile8x32AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile4x32AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile12x16AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile4x16AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile12x8AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile4x8AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile6x16AVX2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile2x16AVX2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile12x8AVX2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile4x8AVX2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

// transposeBlocksAVX2 copies columns j = 0 … 7 of blocks×8 rows, src[j*lds+p], to dst[p*ldd+j].
//
//go:noescape
func transposeBlocksAVX2(dst []float32, ldd int, src []float32, lds, blocks int)

var (
	avx512Set = set{
		name: "avx512",
		widths: []kernels{
			{{12, 32, tile12x32AVX512}, {8, 32, tile8x32AVX512}, {4, 32, tile4x32AVX512}},
			{{12, 16, tile12x16AVX512}, {4, 16, tile4x16AVX512}},
			{{12, 8, tile12x8AVX512}, {4, 8, tile4x8AVX512}},
		},
		transpose: transposeAVX2,
	}
	avx2Set = set{
		name: "avx2",
		widths: []kernels{
			{{6, 16, tile6x16AVX2}, {2, 16, tile2x16AVX2}},
			{{12, 8, tile12x8AVX2}, {4, 8, tile4x8AVX2}},
		},
		transpose: transposeAVX2,
	}
)

// transposeAVX2 is transposeGo with blocks of 8×8 elements in assembly.
func transposeAVX2(dst []float32, ld int, src view, k, n int) {
	whole, cols := k&^7, n&^7
	if whole > 0 {
		for j := 0; j < cols; j += 8 {
			from := src.data[j*src.cs:]
			_, _ = from[7*src.cs+whole-1], dst[(whole-1)*ld+j+7]
			transposeBlocksAVX2(dst[j:], ld, from, src.cs, whole/8)
		}
		if k > whole && cols > 0 {
			transposeGo(dst[whole*ld:], ld, src.at(whole, 0), k-whole, cols)
		}
	} else {
		cols = 0
	}
	if n > cols {
		transposeGo(dst[cols:], ld, src.at(0, cols), k, n-cols)
	}
}

// sets lists every set that this processor can run, the fastest first.
func sets() []*set {
	var all []*set
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL && cpu.X86.HasAVX2 {
		all = append(all, &avx512Set)
	}
	if cpu.X86.HasAVX2 {
		all = append(all, &avx2Set)
	}
	return append(all, &goSet)
}
