package lsh

import (
	"cmp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// slowCut is what Cut means, done without tricks: compare tuples code by code, rank all boundaries,
// take the best.
func slowCut(h *Hasher, x blas32.General, m int) []int32 {
	n, hashes := x.Rows, h.cfg.Hashes
	codes := make([]uint32, n*hashes)
	h.Codes(codes, x)
	tuple := func(i int) []uint32 { return codes[i*hashes : (i+1)*hashes] }
	var s hashing
	h.project(&s, x)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return slices.Compare(tuple(a), tuple(b)) })
	type boundary struct {
		at, level int
		distance  float32
	}
	var boundaries []boundary
	for i := 1; i < n; i++ {
		a, b := order[i-1], order[i]
		level := 0
		for level < hashes && tuple(a)[level] == tuple(b)[level] {
			level++
		}
		p, q := s.row(h, a), s.row(h, b)
		boundaries = append(boundaries, boundary{i, level, max(f32.Dot(p, p)+f32.Dot(q, q)-2*f32.Dot(p, q), 0)})
	}
	slices.SortStableFunc(boundaries, func(a, b boundary) int {
		return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(b.distance, a.distance))
	})
	begins := make([]bool, n)
	for _, p := range boundaries[:m-1] {
		begins[p.at] = true
	}
	of, k := make([]int32, n), int32(0)
	for i, r := range order {
		if begins[i] {
			k++
		}
		of[r] = k
	}
	return of
}

func TestCutIsTheSlowCut(t *testing.T) {
	r := seeded(t)
	for _, cfg := range []Config{{}, {Family: Hyperplane}, {Hashes: 1}, {Hashes: 2, Width: 2, Centre: Origin},
		{Hashes: 16, Width: 5}, {Family: Hyperplane, Hashes: 3, Width: 9}, {Hashes: 9, Width: 64}} {
		for range 6 {
			rows, dim := 2+r.IntN(300), 1+r.IntN(200)
			x := clumps(r, rows, dim, 1+r.IntN(20), 0.2)
			// Rows of few columns may differ much in length, and are then not one class.
			for i := 0; i < rows && dim < 16; i++ {
				mat.Row(x, i)[0] += 20
			}
			for i := range r.IntN(rows) { // the same rows again
				copy(mat.Row(x, i), mat.Row(x, r.IntN(rows)))
			}
			cfg.Rate, cfg.Seed, cfg.Refine = r.Float64(), r.Uint64(), -1
			c := compressor(t, cfg, dim, 1)
			_, p := c.Compress(x, []int{rows})
			m := cfg.Centroids(rows)
			require.Equal(t, m, p.Clusters().Centroids())
			if m < rows && m > 1 {
				require.Equal(t, slowCut(c.hasher, x, m), p.Clusters().Of, "%+v: %d rows of %d", cfg, rows, dim)
			}
			p.Release()
		}
	}
}

func TestRateIsExactAndClustersKeepToTheirGroup(t *testing.T) {
	r := seeded(t)
	for _, rate := range []float64{0.05, 0.2, 1. / 3, 0.5, 0.9, 1} {
		for _, refine := range []int{-1, 1, 2} {
			const dim, groups = 40, 7
			rows := 1 + r.IntN(600)
			cfg := Config{Rate: rate, Refine: refine, Seed: r.Uint64()}
			c := compressor(t, cfg, dim, groups)
			x, ends := clumps(r, rows, dim, 9, 0.3), some(r, rows, groups)
			centroids, p := c.Compress(x, ends)
			require.NoError(t, p.Clusters().Validate())
			require.Equal(t, ends, p.Clusters().RowEnds)
			for g := range groups {
				row, end, first, last := p.Clusters().Group(g)
				require.Equal(t, cfg.Centroids(end-row), last-first, "group of %d rows", end-row)
			}
			require.Equal(t, p.Clusters().Centroids(), centroids.Rows)
			p.Release()
		}
	}
}

// Rows that are alike end in one cluster: clumps far apart are found again, as long as there are
// not more of them than centroids.
func TestClumpsAreFound(t *testing.T) {
	r := seeded(t)
	for _, family := range []Family{CrossPolytope, Hyperplane} {
		x := clumps(r, 400, 256, 20, 0.01)
		c := compressor(t, Config{Family: family, Refine: -1}, 256, 1)
		_, p := c.Compress(x, []int{400})
		spread, within := 0.0, 0.0
		mean := make([]float32, x.Cols)
		for i := range x.Rows {
			f32.Axpy(mean, 1/float32(x.Rows), mat.Row(x, i))
		}
		for i := range x.Rows {
			spread += squared(mat.Row(x, i), mean)
			within += squared(mat.Row(x, i), mat.Row(p.centroids, int(p.clusters.Of[i])))
		}
		require.Less(t, within, 0.02*spread, "%v", family)
	}
}

// squared is a squared distance, in float64.
func squared(x, y []float32) (sum float64) {
	for i := range x {
		d := float64(x[i]) - float64(y[i])
		sum += d * d
	}
	return sum
}

func TestSortIsStable(t *testing.T) {
	r := seeded(t)
	for _, bits := range []int{1, 7, 8, 9, 24, 33, 64} {
		var s sorter
		for i := range 500 {
			s.items = append(s.items, item{r.Uint64() >> (64 - bits) & r.Uint64(), int32(i)})
		}
		want := slices.Clone(s.items)
		slices.SortStableFunc(want, func(a, b item) int { return cmp.Compare(a.key, b.key) })
		s.sort(bits)
		require.Equal(t, want, s.items)
	}
}
