//go:build amd64 && !purego

package centroid

import "github.com/switchyard-moe/switchyard/internal/cpu"

// level is how wide the vectors of a kernel are.
type level int

const (
	levelGo level = iota
	levelAVX2
	levelAVX512
)

// What the kernels need.
const (
	needsAVX2   = cpu.AVX2
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

// whole returns how many of n elements the assembly does: the Go code does the rest.
func whole(n int) int {
	switch widest() {
	case levelAVX512:
		return n &^ 15
	case levelAVX2:
		return n &^ 7
	}
	return 0
}

//go:noescape
func sumAVX512(dst, x *float32, stride int, rows *int32, n, cols int, factor float32)

//go:noescape
func sumAVX2(dst, x *float32, stride int, rows *int32, n, cols int, factor float32)

//go:noescape
func residualAVX512(dst, x, b *float32, n int, a float32)

//go:noescape
func residualAVX2(dst, x, b *float32, n int, a float32)

// vertex8AVX512 takes an even number n of points of eight coordinates, vertexAVX2 points of a
// multiple of eight.

//go:noescape
func vertex8AVX512(dst *uint32, x *float32, n int)

//go:noescape
func vertexAVX2(dst *uint32, x *float32, q, n int)

func sum(dst, x []float32, stride int, rows []int32, factor float32) {
	n := whole(len(dst))
	switch {
	case n == 0:
	case widest() == levelAVX512:
		sumAVX512(&dst[0], &x[0], stride, &rows[0], len(rows), n, factor)
	default:
		sumAVX2(&dst[0], &x[0], stride, &rows[0], len(rows), n, factor)
	}
	if n < len(dst) {
		sumGeneric(dst[n:], x[n:], stride, rows, factor)
	}
}

func residual(dst []float32, a float32, x, b []float32) {
	n := whole(len(dst))
	switch {
	case n == 0:
	case widest() == levelAVX512:
		residualAVX512(&dst[0], &x[0], &b[0], n, a)
	default:
		residualAVX2(&dst[0], &x[0], &b[0], n, a)
	}
	residualGeneric(dst[n:], a, x[n:], b[n:])
}

func vertices(dst []uint32, x []float32, q int) {
	n := 0
	switch {
	case widest() == levelAVX512 && q == 8 && len(dst) > 1:
		n = len(dst) &^ 1
		vertex8AVX512(&dst[0], &x[0], n)
	case widest() != levelGo && q%8 == 0:
		n = len(dst)
		vertexAVX2(&dst[0], &x[0], q, n)
	}
	verticesGeneric(dst[n:], x[n*q:], q)
}
