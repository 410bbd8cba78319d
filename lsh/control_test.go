package lsh

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// TestControlKeepsTheRate trains, as it were: the rows draw apart from batch to batch. The rate of
// plain joint buckets drifts by far; under control it stays near what was asked for, and no cluster
// mixes row groups.
func TestControlKeepsTheRate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const rows, dim, batches = 2000, 64, 60
	joint := compressor(t, Config{Bucketing: Joint, Hashes: 3}, dim, 2)
	controlled := compressor(t, Config{Bucketing: Controlled, Rate: 0.2}, dim, 2)
	ends := []int{800, rows}
	least, most := 1.0, 0.0
	for b := range batches {
		x := clumps(r, rows, dim, 50, 0.15+1.2*float32(b)/batches)
		_, p := joint.Compress(x, ends)
		require.NoError(t, p.Clusters().Validate())
		least, most = min(least, p.Clusters().Rate()), max(most, p.Clusters().Rate())
		p.Release()
		_, p = controlled.Compress(x, ends)
		require.NoError(t, p.Clusters().Validate())
		off := math.Abs(math.Log2(p.Clusters().Rate() / 0.2))
		require.Less(t, off, 0.5, "batch %d: rate %v", b, p.Clusters().Rate())
		p.Release()
	}
	require.Greater(t, most, 3*least, "joint buckets drift")
}

// TestControlFollowsTheClassOfMostRows: a class of much shorter rows does not count.
func TestControlFollowsTheClassOfMostRows(t *testing.T) {
	const most, rows, dim = 100, 128, 20
	x := clumps(seeded(t), rows, dim, 10, 0.4)
	for i := most; i < rows; i++ {
		f32.Scale(mat.Row(x, i), 1e-3)
	}
	cfg := Config{Bucketing: Controlled, Rate: 0.2}
	alone, both := compressor(t, cfg, dim, 1), compressor(t, cfg, dim, 1)
	for range 3 { // the first pass finds the depth, the next ones adjust it
		_, p := both.Compress(x, []int{rows})
		p.Release()
		_, p = alone.Compress(mat.Rows(x, 0, most), []int{most})
		p.Release()
		require.NotZero(t, both.depth[0])
		require.Equal(t, alone.depth, both.depth)
	}
}

// Joint puts rows together that have the same tuple, and no others.
func TestJointBucketsAreTuples(t *testing.T) {
	r := seeded(t)
	const rows, dim = 300, 40
	x := clumps(r, rows, dim, 20, 0.1)
	c := compressor(t, Config{Bucketing: Joint, Hashes: 2, Refine: -1}, dim, 1)
	_, p := c.Compress(x, []int{rows})
	codes := make([]uint32, 2*rows)
	c.hasher.Codes(codes, x)
	for i := range rows {
		for j := range i {
			same := codes[2*i] == codes[2*j] && codes[2*i+1] == codes[2*j+1]
			require.Equal(t, same, p.clusters.Of[i] == p.clusters.Of[j])
		}
	}
}

// TestDepthsOfAnotherCompressor have it go on as that one; depths that cannot be change nothing.
func TestDepthsOfAnotherCompressor(t *testing.T) {
	const rows, dim = 128, 20
	r := rand.New(rand.NewPCG(1, 2)) // one for which a fresh compressor makes other clusters
	first, second := clumps(r, rows, dim, 10, 0.2), clumps(r, rows, dim, 10, 0.6)
	cfg, ends := Config{Bucketing: Controlled, Rate: 0.2}, []int{50, rows}
	require.Nil(t, compressor(t, Config{}, dim, 2).Depths())
	straight, resumed, fresh := compressor(t, cfg, dim, 2), compressor(t, cfg, dim, 2), compressor(t, cfg, dim, 2)
	require.Equal(t, []float64{0, 0}, straight.Depths())
	_, p := straight.Compress(first, ends)
	p.Release()
	require.NoError(t, resumed.SetDepths(straight.Depths()))
	clusters := func(c *Compressor) Clusters { _, p := c.Compress(second, ends); return p.clusters }
	want := clusters(straight)
	require.NotEqual(t, want, clusters(fresh))
	require.Equal(t, want, clusters(resumed))
	before := resumed.Depths()
	for text, depths := range map[string][]float64{
		"depths of 1 row groups, want 2":                {1},
		"the depth of row group 1 is 0.5, want 0, or 1": {2, 0.5},
		"the depth of row group 0 is NaN":               {math.NaN(), 1},
		"the depth of row group 0 is 65":                {65, 1},
	} {
		require.ErrorContains(t, resumed.SetDepths(depths), text)
		require.Equal(t, before, resumed.Depths())
	}
}
