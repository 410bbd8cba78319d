//go:build !amd64 || purego

package f32

func finite(x []float32) bool { return finiteGeneric(x) }

func topRows(best []int32, x []float32, cols, k int, _ []float32) { topRowsGeneric(best, x, cols, k) }

func sumExpRows(sum, x, top []float32, cols int) { sumExpRowsGeneric(sum, x, top, cols) }
