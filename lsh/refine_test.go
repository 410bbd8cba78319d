package lsh

import (
	"cmp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// residual is the squared distance of all rows from their centroids.
func residual(x blas32.General, of []int32, n int) float64 {
	c, size := make([][]float32, n), make([]float32, n)
	for i, k := range of {
		if c[k] == nil {
			c[k] = make([]float32, x.Cols)
		}
		size[k]++
		for j, v := range mat.Row(x, i) {
			c[k][j] += v
		}
	}
	sum := 0.0
	for k := range c {
		for j := range c[k] {
			c[k][j] /= size[k]
		}
	}
	for i, k := range of {
		sum += squared(mat.Row(x, i), c[k])
	}
	return sum
}

// slowRefine is one Lloyd iteration by its definition.
func slowRefine(x blas32.General, of []int32, n int) []int32 {
	mean, size := make([][]float64, n), make([]int, n)
	for i, k := range of {
		if mean[k] == nil {
			mean[k] = make([]float64, x.Cols)
		}
		size[k]++
		for j, v := range mat.Row(x, i) {
			mean[k][j] += float64(v)
		}
	}
	count := slices.Clone(size)
	to := slices.Clone(of)
	for i, from := range of {
		best, least := from, 0.0
		for k := range mean {
			d := 0.0
			for j, v := range mat.Row(x, i) {
				e := float64(v) - mean[k][j]/float64(size[k])
				d += e * e
			}
			if k == 0 || d < least {
				best, least = int32(k), d
			}
		}
		if best != from && count[from] > 1 {
			count[from]--
			count[best]++
			to[i] = best
		}
	}
	return to
}

func TestRefineIsTheSlowOne(t *testing.T) {
	r := seeded(t)
	for range 10 {
		rows, dim, n := 20+r.IntN(600), 3+r.IntN(30), 2+r.IntN(15)
		x := clumps(r, rows, dim, 8, 0.5)
		of := make([]int32, rows)
		for i := range of {
			of[i] = int32(r.IntN(n))
		}
		for k := range n {
			of[k] = int32(k)
		}
		want := slowRefine(x, of, n)
		before := residual(x, of, n)
		var w refiner
		w.refine(x, of, n, 1)
		differ := 0
		for i := range of {
			if of[i] != want[i] {
				differ++ // as near to both, but for rounding
			}
		}
		require.LessOrEqual(t, differ, rows/100)
		require.Less(t, residual(x, of, n), before)
	}
}

func TestNoClusterLosesItsLastRow(t *testing.T) {
	// All rows are nearest to the mean of the first two, where the lone ones are as well.
	x := blas32.General{Rows: 6, Cols: 1, Stride: 1, Data: []float32{1, 1, 1, 1, 1, 1}}
	of := []int32{2, 1, 0, 2, 1, 1}
	var w refiner
	w.refine(x, of, 3, 3)
	size := make([]int, 3)
	for _, k := range of {
		size[k]++
	}
	require.NotContains(t, size, 0)
}

func TestRefineBringsRowsNearer(t *testing.T) {
	r := seeded(t)
	x := clumps(r, 1000, 64, 60, 0.6)
	last := 0.0
	for times := range 4 {
		_, p := compressor(t, Config{Refine: cmp.Or(times, -1), Rate: 0.1}, 64, 1).Compress(x, []int{1000})
		require.Equal(t, 100, p.Clusters().Centroids())
		d := residual(x, p.Clusters().Of, 100)
		switch {
		case times == 1:
			require.Less(t, d, last)
		case times > 1:
			require.LessOrEqual(t, d, last) // once no row moves, none ever will
		}
		last = d
	}
}

// TestOnlyANearerCentroidTakesARow: not one that is as near, and not a cluster's last row.
func TestOnlyANearerCentroidTakesARow(t *testing.T) {
	r := refiner{threshold: make([]float32, 2), size: []int32{2, 3}}
	products := blas32.General{Rows: 3, Cols: 2, Stride: 2, Data: []float32{1, 1, 3, 2, 2, 3}}
	of := []int32{1, 1, 0}
	r.move(products, of)
	require.Equal(t, []int32{1, 0, 1}, of, "a tie stays")
	require.Equal(t, []int32{2, 3}, r.size)

	r.size, of = []int32{1, 4}, []int32{0}
	r.move(blas32.General{Rows: 1, Cols: 2, Stride: 2, Data: []float32{2, 3}}, of)
	require.Equal(t, []int32{0}, of, "the last row stays")
	r.size[0] = 2
	r.move(blas32.General{Rows: 1, Cols: 2, Stride: 2, Data: []float32{2, 3}}, of)
	require.Equal(t, []int32{1}, of)
}
