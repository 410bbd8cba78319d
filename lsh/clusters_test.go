package lsh

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

func TestClusters(t *testing.T) {
	c := NewClusters([][]int32{{1, 0, 1}, {}, {0, 0}})
	require.Equal(t, &Clusters{RowEnds: []int{3, 3, 5}, CentroidEnds: []int{2, 2, 3}, Of: []int32{1, 0, 1, 2, 2}}, c)
	require.Equal(t, 3, c.Groups())
	require.Equal(t, 3, c.Centroids())
	require.InDelta(t, 0.6, c.Rate(), 1e-12)
	require.Equal(t, "group 0, 3 rows, 2 centroids: 1 0 1\ngroup 1, 0 rows, 0 centroids:\ngroup 2, 2 rows, 1 centroids: 0 0\n", c.String())
	d := NewClusters([][]int32{{1, 0, 1}, {}, {0, 0}})
	require.True(t, c.Equal(d))
	d.Of[0] = 0
	require.False(t, c.Equal(d))
	none := NewClusters(nil)
	require.Zero(t, none.Centroids())
	require.Equal(t, 1.0, none.Rate())
	require.Panics(t, func() { NewClusters([][]int32{{0, 2}}) })
	require.Panics(t, func() { NewClusters([][]int32{{0, -1}}) })
}

func TestClustersThatContradictThemselves(t *testing.T) {
	for want, c := range map[string]*Clusters{
		"of 1 groups, centroids of 0":                  {RowEnds: []int{0}},
		"must not fall":                                {RowEnds: []int{2, 1}, CentroidEnds: []int{1, 1}, Of: []int32{0}},
		"ends say 3":                                   {RowEnds: []int{3}, CentroidEnds: []int{1}, Of: []int32{0}},
		"2 centroids of 1 rows":                        {RowEnds: []int{1}, CentroidEnds: []int{2}, Of: []int32{0}},
		"centroid 1 has no rows":                       {RowEnds: []int{2}, CentroidEnds: []int{2}, Of: []int32{0, 0}},
		"row 0 has centroid 1, want 0 to 0 of group 0": {RowEnds: []int{1, 2}, CentroidEnds: []int{1, 2}, Of: []int32{1, 1}},
		"row 1 has centroid -1":                        {RowEnds: []int{2}, CentroidEnds: []int{1}, Of: []int32{0, -1}},
	} {
		require.ErrorContains(t, c.Validate(), want)
		require.Panics(t, func() { compressor(t, Config{}, 2, c.Groups()).CompressAs(matrix(seeded(t), len(c.Of), 2), c) })
	}
}

func FuzzClusters(f *testing.F) {
	f.Add([]byte{3, 5}, []byte{1, 2}, []byte{0, 0, 0, 1, 1})
	f.Add([]byte{0}, []byte{0}, []byte{})
	f.Fuzz(func(t *testing.T, rows, centroids, of []byte) {
		c := new(Clusters)
		for _, n := range rows {
			c.RowEnds = append(c.RowEnds, int(n)-2)
		}
		for _, n := range centroids {
			c.CentroidEnds = append(c.CentroidEnds, int(n)-2)
		}
		for _, k := range of {
			c.Of = append(c.Of, int32(k)-2)
		}
		if c.Validate() != nil {
			return
		}
		require.True(t, c.Equal(c))
		x := matrix(seeded(t), len(c.Of), 3)
		m, p := compressor(t, Config{Compensation: Identity}, 3, c.Groups()).CompressAs(x, c)
		y := like(x)
		p.Restore(y, m)
		requireSameBits(t, x, y, "%v", c)
	})
}

// TestCompressSomeLeavesTheOthers: rows of row groups that are not wanted are clusters of their
// own, and what is counted leaves them out.
func TestCompressSomeLeavesTheOthers(t *testing.T) {
	for b := range Bucketing(bucketings) {
		// The rows are so close that some share a cluster in every bucketing.
		x, ends := clumps(seeded(t), 90, 6, 4, 0.01), []int{30, 60, 90}
		wanted := func(g int) bool { return g == 1 }
		m, p := compressor(t, Config{Bucketing: b}, 6, 3).CompressSome(x, ends, wanted)
		c := p.Clusters()
		require.NoError(t, c.Validate())
		for _, g := range []int{0, 2} {
			row, rowEnd, first, end := c.Group(g)
			require.Equal(t, rowEnd-row, end-first)
			requireSameBits(t, mat.Rows(x, row, rowEnd), mat.Rows(m, first, end), "group %d", g)
		}
		rows, centroids := c.Count(wanted)
		require.Equal(t, 30, rows)
		require.Equal(t, c.Centroids()-60, centroids)
		require.Less(t, centroids, rows)
		rows, centroids = c.Count(nil)
		require.Equal(t, []int{90, c.Centroids()}, []int{rows, centroids})
	}
}
