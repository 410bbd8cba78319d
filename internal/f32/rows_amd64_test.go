//go:build amd64 && !purego

package f32

import "testing"

// The kernels for vectors of eight are what a processor without wider ones runs.
func TestRowsWithoutWideVectors(t *testing.T) {
	defer func(was bool) { wide = was }(wide)
	wide = false
	TestSumExpRowsIsSumOfExp(t)
}

func TestRowsWithoutAssembly(t *testing.T) {
	defer func(was bool) { accelerated = was }(accelerated)
	accelerated = false
	TestTopRowsIsAStableSort(t)
	TestSumExpRowsIsSumOfExp(t)
	TestFinite(t)
}
