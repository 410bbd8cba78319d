//go:build amd64 && !purego

package f64

import "github.com/switchyard-moe/switchyard/internal/cpu"

// dotsAVX2 adds the products of the first n elements, a multiple of four.
//
//go:noescape
func dotsAVX2(sums *[4]Lanes, x, y0, y1, y2, y3 *float64, n int)

func dots(sums *[4]Lanes, x, y0, y1, y2, y3 []float64) {
	if !cpu.Has(cpu.AVX2) {
		dotsGeneric(sums, x, y0, y1, y2, y3)
		return
	}
	dotsAVX2(sums, &x[0], &y0[0], &y1[0], &y2[0], &y3[0], len(x))
}
