package lsh

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// pairs returns clusters of two rows each, n of them in each row group.
func pairs(n, groups int) *Clusters {
	of := make([]int32, 2*n)
	for i := range of {
		of[i] = int32(i / 2)
	}
	return NewClusters(slices.Repeat([][]int32{of}, groups))
}

// TestBlocksAreAsFewAsPossible, of about one size, and follow each other within each row group.
func TestBlocksAreAsFewAsPossible(t *testing.T) {
	r := seeded(t)
	const dim, groups = 3, 2
	for n, want := range map[int]int{
		1: 1, maxNodes - 1: 1, maxNodes: 1, maxNodes + 1: 2, 2 * maxNodes: 2, 2*maxNodes + 1: 3,
	} {
		c := compressor(t, Config{Bandwidth: 3, Ridge: 0.03}, dim, groups)
		_, p := c.CompressAs(matrix(r, 2*n*groups, dim), pairs(n, groups))
		p.Prepare()
		for g, blocks := range p.weights {
			require.Len(t, blocks, want, "%d centroids", n)
			last := g * n
			for _, b := range blocks {
				require.Equal(t, last, b.first)
				require.InDelta(t, float64(n)/float64(want), float64(b.end-b.first), 1)
				last = b.end
			}
			require.Equal(t, (g+1)*n, last)
		}
		p.Release()
	}
}

// TestOffsetsBeyondFloat32: E(c) + g·(x − c) is finite although g·c − E(c) is not, for the gains of
// each row group.
func TestOffsetsBeyondFloat32(t *testing.T) {
	const dim, groups = 2, 2
	for _, how := range []Compensation{LearnedGain, LearnedChannels} {
		t.Run(fmt.Sprint(how), func(t *testing.T) {
			c := compressor(t, Config{Compensation: how}, dim, groups)
			copy(c.Gains(), []float32{0.5, 0.75, 0.25, 0.625})
			x := blas32.General{Rows: 4, Cols: dim, Stride: dim, Data: []float32{3e38, 2e38, 1e38, 3e38, 2e38, 3e38, 3e38, 1e38}}
			m, p := c.CompressAs(x, pairs(1, groups))
			answers := blas32.General{Rows: groups, Cols: dim, Stride: dim, Data: []float32{-2.5e38, -2.5e38, -2.5e38, -2.5e38}}
			y := like(x)
			p.Restore(y, answers)
			for i := range x.Rows {
				for j, got := range mat.Row(y, i) {
					gain := float64(c.Gains()[i/2])
					if how == LearnedChannels {
						gain = float64(c.Gains()[i/2*dim+j])
					}
					want := -2.5e38 + gain*(float64(mat.Row(x, i)[j])-float64(mat.Row(m, i/2)[j]))
					require.InEpsilon(t, want, float64(got), 1e-6, "row %d, column %d", i, j)
				}
			}
		})
	}
}

// TestGainGradsAreThereAfterRestoreBackward, before the pass ends, and not sooner.
func TestGainGradsAreThereAfterRestoreBackward(t *testing.T) {
	r := seeded(t)
	c := compressor(t, Config{Compensation: LearnedGain}, 3, 1)
	x := matrix(r, 4, 3)
	m, p := c.CompressAs(x, pairs(2, 1))
	p.Restore(like(x), like(m))
	require.Panics(t, func() { p.GainGrads() })
	p.RestoreBackward(matrix(r, 4, 3))
	require.Len(t, p.GainGrads(), 1)
	require.NotZero(t, p.GainGrads()[0])
	p.CompressBackward(like(x), like(m))
	require.Len(t, p.GainGrads(), 1)
}

// TestGainGradsBeyondFloat32: the products of single rows overflow, and their sum does not.
func TestGainGradsBeyondFloat32(t *testing.T) {
	const dim = 2
	x := blas32.General{Rows: 3, Cols: dim, Stride: dim, Data: []float32{1e20, 5e20, 3e20, 1e20, 4e20, 4e20}}
	dy := blas32.General{Rows: 3, Cols: dim, Stride: dim, Data: []float32{2e20, 3.01e20, 2.01e20, 3e20, 2e20, 2e20}}
	for _, how := range []Compensation{LearnedGain, LearnedChannels} {
		c := compressor(t, Config{Compensation: how}, dim, 1)
		// The last row is alone in its cluster and counts nothing.
		m, p := c.CompressAs(x, NewClusters([][]int32{{0, 0, 1}}))
		p.Restore(like(x), like(m))
		p.RestoreBackward(dy)
		want := make([]float64, dim)
		for i := range 2 {
			for j := range dim {
				residual := float64(mat.Row(x, i)[j]) - float64(mat.Row(m, 0)[j])
				want[j] += residual * float64(mat.Row(dy, i)[j])
			}
		}
		if how == LearnedGain {
			want = []float64{want[0] + want[1]}
		}
		for j, got := range p.GainGrads() {
			require.InEpsilon(t, want[j], float64(got), 1e-6, "%v: gain %d", how, j)
		}
	}
}
