// Package centroid holds the kernels of clustering whose results are defined to the bit: each doc
// comment states which operations happen in which order, every product and sum is rounded apart,
// and nothing depends on the machine. There are kernels for AVX-512 and AVX2 and a version in Go;
// the build tag purego leaves only that version. The payload of a NaN is the one thing left open.
package centroid

import (
	"fmt"
	"math"
)

// Sum sets dst to factor times the sum of some rows of a matrix that begins at x: the first row,
// plus the second, and so on, then the product. There is at least one row; with one and the factor
// 1 dst is its copy. It panics if a row is not in x.
func Sum(dst, x []float32, stride int, rows []int32, factor float32) {
	for _, r := range rows {
		if r < 0 || int(r)*stride+len(dst) > len(x) {
			panic(fmt.Sprintf("centroid: row %d of %d columns is not in %d elements", r, len(dst), len(x)))
		}
	}
	if len(rows) == 0 {
		panic("centroid: the sum of no rows")
	}
	if len(dst) > 0 {
		sum(dst, x, stride, rows, factor)
	}
}

func sumGeneric(dst, x []float32, stride int, rows []int32, factor float32) {
	copy(dst, x[int(rows[0])*stride:])
	for _, r := range rows[1:] {
		for i, v := range x[int(r)*stride:][:len(dst)] {
			dst[i] += v
		}
	}
	for i := range dst {
		dst[i] *= factor
	}
}

// Residual sets dst[i] = float32(a*x[i]) - b[i]. dst may be x or b. The lengths must be equal.
func Residual(dst []float32, a float32, x, b []float32) {
	if len(dst) != len(x) || len(dst) != len(b) {
		panic(fmt.Sprintf("centroid: lengths %d, %d and %d differ", len(dst), len(x), len(b)))
	}
	residual(dst, a, x, b)
}

func residualGeneric(dst []float32, a float32, x, b []float32) {
	for i, v := range x {
		dst[i] = float32(a*v) - b[i]
	}
}

// Vertices cuts x into points of q coordinates, and finds which of the 2q vertices of the
// cross-polytope each is nearest to: twice the index of the coordinate of largest magnitude, the
// lowest of equal ones, plus 1 if it is negative. Magnitudes are compared as bits, so NaN is larger
// than infinity.
func Vertices(dst []uint32, x []float32, q int) {
	if q < 1 || len(x) != q*len(dst) {
		panic(fmt.Sprintf("centroid: %d points of %d coordinates in %d elements", len(dst), q, len(x)))
	}
	if len(dst) > 0 {
		vertices(dst, x, q)
	}
}

func verticesGeneric(dst []uint32, x []float32, q int) {
	const sign = 1 << 31
	for p := range dst {
		at, largest := 0, uint32(0)
		point := x[p*q:][:q]
		for i, v := range point {
			if m := math.Float32bits(v) &^ sign; m > largest {
				at, largest = i, m
			}
		}
		dst[p] = uint32(2*at) | math.Float32bits(point[at])>>31
	}
}
