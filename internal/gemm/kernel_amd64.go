//go:build amd64 && !purego

package gemm

import "github.com/switchyard-moe/switchyard/internal/cpu"

// The kernels in assembly; [kernel] says what each computes, its name says the tile's rows and
// columns. The Go version of all of them is tile2x4.

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
func tile2x16AVX2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile12x8AVX2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

//go:noescape
func tile4x8AVX2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)

// row6x16AVX2 computes n tiles of c side by side, at least one, from as many panels of b that are
// step apart. It does not check bounds.
//
//go:noescape
func row6x16AVX2(n, k int, a *float32, rs, cs int, b *float32, bs, step int, c *float32, ldc int, how start)

// spreadAVX2 copies the first panels·16 elements of row, 16 at a time, to places in dst that are
// step apart; panels is at least 1.
//
//go:noescape
func spreadAVX2(dst, row *float32, panels, step int)

// transposeBlocksAVX2 copies columns j = 0 … 7 of blocks×8 rows, src[j*lds+p], to dst[p*ldd+j].
//
//go:noescape
func transposeBlocksAVX2(dst []float32, ldd int, src []float32, lds, blocks int)

var (
	avx512Set = set{
		name:  "avx512",
		needs: cpu.AVX512F | cpu.AVX512DQ | cpu.AVX512VL | cpu.AVX2,
		widths: []kernels{
			{{mr: 12, nr: 32, run: tile12x32AVX512}, {mr: 8, nr: 32, run: tile8x32AVX512}, {mr: 4, nr: 32, run: tile4x32AVX512}},
			{{mr: 12, nr: 16, run: tile12x16AVX512}, {mr: 4, nr: 16, run: tile4x16AVX512}},
			{{mr: 12, nr: 8, run: tile12x8AVX512}, {mr: 4, nr: 8, run: tile4x8AVX512}},
		},
		transpose: transposeAVX2,
	}
	avx2Set = set{
		name:  "avx2",
		needs: cpu.AVX2,
		widths: []kernels{
			{{mr: 6, nr: 16, run: tile6x16AVX2, row: row6x16AVX2}, {mr: 2, nr: 16, run: tile2x16AVX2}},
			{{mr: 12, nr: 8, run: tile12x8AVX2}, {mr: 4, nr: 8, run: tile4x8AVX2}},
		},
		transpose: transposeAVX2,
		spread16:  spreadAVX2,
	}
)

// tile6x16AVX2 is row6x16AVX2 of one tile.
func tile6x16AVX2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool) {
	how := fromZero
	if load {
		how = fromC
	}
	row6x16AVX2(1, k, &a[0], rs, cs, &b[0], bs, 0, &c[0], ldc, how)
}

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

// sets lists every set, the fastest first.
var sets = []*set{&avx512Set, &avx2Set, &goSet}
