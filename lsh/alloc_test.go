//go:build !race

package lsh

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
)

// TestNothingIsAllocatedInTheLongRun is not for the race detector, under which gemm's pool forgets
// at random.
func TestNothingIsAllocatedInTheLongRun(t *testing.T) {
	r := seeded(t)
	const rows, dim = 300, 32
	x, y, dx, ends := clumps(r, rows, dim, 20, 0.4), matrix(r, rows, dim), matrix(r, rows, dim), []int{100, 100, rows}
	for k := range Compensation(compensations) {
		for b := range Bucketing(bucketings) {
			c := compressor(t, Config{Compensation: k, Bucketing: b, Refine: 1, Workers: 1}, dim, 3)
			step := func() {
				m, p := c.Compress(x, ends)
				p.Restore(y, m)
				p.CompressBackward(dx, p.RestoreBackward(x))
				p.Release()
			}
			step()
			step()
			require.Zero(t, alloctest.Least(60, step), "%v, %v", k, b)
		}
	}
}
