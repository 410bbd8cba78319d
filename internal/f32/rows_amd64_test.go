//go:build amd64 && !purego

package f32

import (
	"testing"

	"github.com/switchyard-moe/switchyard/internal/cpu"
)

// The kernels for vectors of eight are what a processor without wider ones runs.
func TestRowsWithoutWideVectors(t *testing.T) {
	needAVX2(t)
	defer cpu.Limit(cpu.AVX2)()
	TestSumExpRowsIsSumOfExp(t)
}

func TestRowsWithoutAssembly(t *testing.T) {
	defer cpu.Limit(0)()
	TestTopRowsIsAStableSort(t)
	TestSumExpRowsIsSumOfExp(t)
	TestFinite(t)
}
