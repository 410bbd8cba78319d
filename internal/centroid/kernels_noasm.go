//go:build !amd64 || purego

package centroid

func sum(dst, x []float32, stride int, rows []int32, factor float32) {
	sumGeneric(dst, x, stride, rows, factor)
}

func residual(dst []float32, a float32, x, b []float32) { residualGeneric(dst, a, x, b) }
func vertices(dst []uint32, x []float32, q int)         { verticesGeneric(dst, x, q) }
