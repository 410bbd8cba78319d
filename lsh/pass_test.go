package lsh

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

func TestCallsOutOfTurnPanic(t *testing.T) {
	r := seeded(t)
	x := matrix(r, 20, 4)
	c := compressor(t, Config{Compensation: LearnedGain}, 4, 1)
	m, p := c.Compress(x, []int{20})
	require.Panics(t, func() { p.RestoreBackward(x) })
	require.Panics(t, func() { p.CompressBackward(x, m) })
	require.Panics(t, func() { p.GainGrads() })
	require.Panics(t, func() { p.Weights(0) })
	require.Panics(t, func() { p.Restore(like(x), x) }, "as many answers as rows")
	p.Restore(like(x), m)
	require.Panics(t, func() { p.Restore(like(x), m) })
	require.Panics(t, p.Prepare)
	p.RestoreBackward(x)
	require.Panics(t, func() { p.RestoreBackward(x) })
	p.CompressBackward(like(x), m)
	p.Release()
	require.Panics(t, p.Release)
	require.Panics(t, func() { p.Restore(like(x), m) })
}

func TestWhatDoesNotFitPanics(t *testing.T) {
	r := seeded(t)
	c := compressor(t, Config{}, 4, 2)
	x := matrix(r, 10, 4)
	for _, wrong := range []func(){
		func() { c.Compress(x, []int{10}) },
		func() { c.Compress(x, []int{5, 9}) },
		func() { c.Compress(x, []int{12, 10}) },
		func() { c.Compress(x, []int{-1, 10}) },
		func() { c.Compress(matrix(r, 10, 5), []int{5, 10}) },
		func() {
			c.Compress(blas32.General{Rows: 10, Cols: 4, Stride: 4, Data: make([]float32, 39)}, []int{5, 10})
		},
		func() {
			c.Compress(blas32.General{Rows: 10, Cols: 4, Stride: 3, Data: make([]float32, 40)}, []int{5, 10})
		},
		func() { c.CompressAs(x, NewClusters([][]int32{{0}})) },
		func() { c.CompressAs(x, NewClusters([][]int32{{0}, {0}})) },
	} {
		require.Panics(t, wrong)
	}
}

func TestNoRows(t *testing.T) {
	for k := range Compensation(compensations) {
		for b := range Bucketing(bucketings) {
			c := compressor(t, Config{Compensation: k, Bucketing: b, Refine: 1}, 4, 3)
			none := blas32.General{Cols: 4, Stride: 4}
			m, p := c.Compress(none, []int{0, 0, 0})
			require.Zero(t, m.Rows)
			p.Restore(none, m)
			p.CompressBackward(none, p.RestoreBackward(none))
			p.Release()
		}
	}
	c := compressor(t, Config{}, 4, 0)
	_, p := c.Compress(blas32.General{Cols: 4, Stride: 4}, nil)
	require.Zero(t, p.Clusters().Groups())
}

// Several passes under way do not disturb each other.
func TestPassesUnderWay(t *testing.T) {
	r := seeded(t)
	c := compressor(t, Config{Compensation: Interpolate}, 16, 1)
	a, b := clumps(r, 80, 16, 9, 0.3), clumps(r, 120, 16, 9, 0.3)
	ya, yb, want := like(a), like(b), like(a)
	m, p := c.Compress(a, []int{80})
	p.Restore(want, m)
	p.Release()
	ma, pa := c.Compress(a, []int{80})
	pa.Prepare()
	mb, pb := c.Compress(b, []int{120})
	pb.Restore(yb, mb)
	pa.Restore(ya, ma)
	requireSameBits(t, want, ya, "the pass that began first")
}
