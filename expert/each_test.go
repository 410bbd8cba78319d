//go:build !race

package expert

import (
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
)

// parallelAt tells whether f starts goroutines, which allocates.
func parallelAt(f func()) bool { return alloctest.Least(60, f) > 0 }

// TestGoroutinesAreForEnoughWork, for several workers and several things to do.
func TestGoroutinesAreForEnoughWork(t *testing.T) {
	done := make([]int, 4)
	run := func(workers, work, n int) func() {
		return func() { each(workers, work, n, done, func(done []int, i int) { done[i]++ }) }
	}
	require.True(t, parallelAt(run(2, minParallelWork, 4)))
	require.False(t, parallelAt(run(2, minParallelWork-1, 4)))
	require.False(t, parallelAt(run(1, minParallelWork, 4)))
	require.False(t, parallelAt(run(2, minParallelWork, 1)))
	clear(done)
	run(3, minParallelWork, 4)()
	require.Equal(t, []int{1, 1, 1, 1}, done)
	require.Equal(t, runtime.GOMAXPROCS(0), workerCount(0))
	require.Equal(t, 3, workerCount(3))
}

// leastOf returns the least number of allocations of each stage in several turns of all of them.
func leastOf(stages ...func()) []uint64 {
	least := slices.Repeat([]uint64{math.MaxUint64}, len(stages))
	var before, after runtime.MemStats
	for range 40 {
		for i, stage := range stages {
			runtime.ReadMemStats(&before)
			stage()
			runtime.ReadMemStats(&after)
			least[i] = min(least[i], after.Mallocs-before.Mallocs)
		}
	}
	return least
}

// TestWorkOfAPass: each half of a pass counts its multiplications, so that goroutines start at the
// number of rows that this test works out. A leaf is a product of its own.
func TestWorkOfAPass(t *testing.T) {
	const dim, hidden = 128, 128
	for name, c := range map[string]struct {
		kind     Expert
		products int // of rows × dim × hidden
	}{
		"FFN":    {FFN{Hidden: hidden, Workers: 2}, 2},
		"SwiGLU": {SwiGLU{Hidden: hidden, Workers: 2}, 3},
	} {
		enough := func(parts int) int { // rows, if the products are cut into parts
			row := c.products * dim * hidden
			return (parts*minParallelWork + row - 1) / row
		}
		for _, leaves := range []int{1, 3} {
			for _, rows := range []int{enough(1) - 1, enough(1), enough(leaves) - 1, enough(leaves)} {
				whole, leaf := rows >= enough(1), rows >= enough(leaves)
				got := parallelStages(t, c.kind, dim, rows, leaves)
				require.Equal(t, []bool{whole, whole, leaf}, got, "%s: %d rows, %d leaves", name, rows, leaves)
			}
		}
	}
}

// parallelStages tells which of Forward, BackwardInput and BackwardWeights start goroutines.
func parallelStages(t *testing.T, kind Expert, dim, rows, leaves int) []bool {
	g, err := kind.New(Shape{Dim: dim, Count: 2})
	require.NoError(t, err)
	x := blas32.General{Rows: rows, Cols: dim, Stride: dim, Data: make([]float32, rows*dim)}
	batch := Rows{Experts: 2, Leaves: leaves, Ends: make([]int, 2*leaves)}
	for i := range batch.Ends {
		batch.Ends[i] = rows * (i + 1) / len(batch.Ends)
	}
	var saved Saved
	split := g.(SplitBackward)
	var stages []bool
	for _, n := range leastOf(
		func() { _, saved = g.Forward(x, batch) },
		func() { split.BackwardInput(saved, x) },
		func() { split.BackwardWeights(saved); g.Params().Grad.Reset() },
	) {
		stages = append(stages, n > 0)
	}
	return stages
}
