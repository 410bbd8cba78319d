//go:build !amd64 || purego

package rows

import "gonum.org/v1/gonum/blas/blas32"

func far(dst, src, _ []byte) { copy(dst, src) }

func fence() {}

func scaleFar(dst, x []float32, weight float32, _, _ []float32) { scaleGeneric(dst, x, weight) }

func sum(dst []float32, rows blas32.General, list, _ []int32, weight []float32, _ bool) {
	sumGeneric(dst, 0, rows, list, weight)
}
