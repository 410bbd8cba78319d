//go:build amd64 && !purego

package f32

import "github.com/switchyard-moe/switchyard/internal/cpu"

//go:noescape
func finiteAVX2(x []float32) bool

// topRowsAVX2 takes rows of a positive multiple of eight elements.
//
//go:noescape
func topRowsAVX2(best []int32, x []float32, cols, k int, scratch []float32, turns *[14]eight[uint32])

//go:noescape
func sumExpRowsAVX2(sum, x, top []float32, cols int, table *eight[float32])

// sumExpRowsAVX512 takes rows of a multiple of sixteen elements.
//
//go:noescape
func sumExpRowsAVX512(sum, x, top []float32, cols int, table *eight[float32])

// turns is what the ranking of a row of eight needs: for each n from 1 to 7 the lane n further on,
// round and round, and then, for each n, all ones in the lanes where that is a lower lane, which
// goes first among equals.
var turns = [14]eight[uint32]{
	{1, 2, 3, 4, 5, 6, 7, 0}, {2, 3, 4, 5, 6, 7, 0, 1}, {3, 4, 5, 6, 7, 0, 1, 2}, {4, 5, 6, 7, 0, 1, 2, 3},
	{5, 6, 7, 0, 1, 2, 3, 4}, {6, 7, 0, 1, 2, 3, 4, 5}, {7, 0, 1, 2, 3, 4, 5, 6},
	{0, 0, 0, 0, 0, 0, 0, ones}, {0, 0, 0, 0, 0, 0, ones, ones}, {0, 0, 0, 0, 0, ones, ones, ones},
	{0, 0, 0, 0, ones, ones, ones, ones}, {0, 0, 0, ones, ones, ones, ones, ones},
	{0, 0, ones, ones, ones, ones, ones, ones}, {0, ones, ones, ones, ones, ones, ones, ones},
}

const ones = 1<<32 - 1

func finite(x []float32) bool {
	n := whole(len(x))
	return (n == 0 || finiteAVX2(x[:n])) && finiteGeneric(x[n:])
}

func topRows(best []int32, x []float32, cols, k int, scratch []float32) {
	if whole(cols) != cols {
		topRowsGeneric(best, x, cols, k)
		return
	}
	topRowsAVX2(best, x, cols, k, scratch, &turns)
}

func sumExpRows(sum, x, top []float32, cols int) {
	switch {
	case whole(cols) != cols:
		sumExpRowsGeneric(sum, x, top, cols)
	case cpu.Has(cpu.AVX512F) && cols%16 == 0:
		sumExpRowsAVX512(sum, x, top, cols, &table.f[0])
	default:
		sumExpRowsAVX2(sum, x, top, cols, &table.f[0])
	}
}
