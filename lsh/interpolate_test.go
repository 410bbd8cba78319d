package lsh

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// solve solves a·x = b in float64, by elimination with pivots.
func solve(a wide, b []float64) []float64 {
	n := len(b)
	for i := range n {
		pivot := i
		for j := i + 1; j < n; j++ {
			if math.Abs(a[j][i]) > math.Abs(a[pivot][i]) {
				pivot = j
			}
		}
		a[i], a[pivot], b[i], b[pivot] = a[pivot], a[i], b[pivot], b[i]
		for j := i + 1; j < n; j++ {
			f := a[j][i] / a[i][i]
			for k := i; k < n; k++ {
				a[j][k] -= f * a[i][k]
			}
			b[j] -= f * b[i]
		}
	}
	for i := n - 1; i >= 0; i-- {
		for k := i + 1; k < n; k++ {
			b[i] -= a[i][k] * b[k]
		}
		b[i] /= a[i][i]
	}
	return b
}

// slowWeights are those of one row group of at most maxNodes centroids, by the definition in
// float64.
func slowWeights(x, c blas32.General, of []int32, size []int, bandwidth, ridge float64) wide {
	h2, n := 0.0, c.Rows
	for i, k := range of {
		h2 += squared(mat.Row(x, i), mat.Row(c, int(k))) / float64(x.Rows) * bandwidth
	}
	value := func(u, v []float32) float64 { return math.Exp(-squared(u, v) / (2 * h2)) }
	weights := make(wide, x.Rows)
	for i := range weights {
		weights[i] = make([]float64, n)
		if size[of[i]] == 1 {
			weights[i][of[i]] = 1
			continue
		}
		a, b := make(wide, n), make([]float64, n)
		for j := range a {
			a[j] = make([]float64, n)
			for k := range a[j] {
				a[j][k] = value(mat.Row(c, j), mat.Row(c, k))
			}
			a[j][j] += ridge
			b[j] = value(mat.Row(x, i), mat.Row(c, j))
		}
		w, sum := solve(a, b), 0.0
		for _, v := range w {
			sum += v
		}
		for j, v := range w {
			weights[i][j] = v + (1-sum)/float64(n)
		}
	}
	return weights
}

func TestWeightsAreTheRegressions(t *testing.T) {
	r := seeded(t)
	for _, cfg := range []Config{{Rate: 0.3, Bandwidth: 3, Ridge: 0.03}, {Rate: 0.1, Bandwidth: 8, Ridge: 0.003}, {Rate: 0.6, Bandwidth: 0.3, Ridge: 0.3}} {
		cfg.Compensation = Interpolate
		const rows, dim = 120, 30
		x := clumps(r, rows, dim, 10, 0.4)
		c := compressor(t, cfg, dim, 1)
		centroids, p := c.Compress(x, []int{rows})
		p.Prepare()
		size := make([]int, centroids.Rows)
		for _, k := range p.clusters.Of {
			size[k]++
		}
		got := p.Weights(0)
		for i, want := range slowWeights(x, centroids, p.clusters.Of, size, float64(c.cfg.Bandwidth), float64(c.cfg.Ridge)) {
			sum := 0.0
			for j, w := range want {
				require.InDelta(t, w, mat.Row(got, i)[j], 2e-4, "%+v: row %d, centroid %d", cfg, i, j)
				sum += float64(mat.Row(got, i)[j])
			}
			require.InDelta(t, 1, sum, 1e-5, "an expert with a constant answer is answered with it")
		}
	}
}

// More centroids than are interpolated through at once: every row's weights are of neighbours in
// its block alone.
func TestBlocks(t *testing.T) {
	r := seeded(t)
	const rows, dim = 2*maxChosenNodes + 100, 16
	x := matrix(r, rows, dim)
	_, p := compressor(t, Config{Compensation: Interpolate, Rate: 0.9}, dim, 1).Compress(x, []int{rows})
	p.Prepare()
	require.Equal(t, 2, len(p.weights[0]))
	last := 0
	for _, b := range p.weights[0] {
		require.Equal(t, last, b.first)
		require.LessOrEqual(t, b.end-b.first, maxChosenNodes)
		last = b.end
	}
	require.Equal(t, p.clusters.Centroids(), last)
}

// Of a smooth expert, interpolation restores more than the other compensations do, at the same
// clusters.
func TestInterpolationIsNearest(t *testing.T) {
	r := seeded(t)
	const rows, dim = 1500, 24
	x, latent, mix, m := matrix(r, rows, dim), matrix(r, rows, 4), matrix(r, 4, dim), matrix(r, dim, dim)
	for i := range rows { // rows near a surface of four dimensions
		for j := range dim {
			mat.Row(x, i)[j] *= 0.05
			for k, v := range mat.Row(latent, i) {
				mat.Row(x, i)[j] += v * mat.Row(mix, k)[j] / 2
			}
		}
	}
	answer := func(x blas32.General) blas32.General {
		y := like(x)
		for i := range x.Rows {
			for j := range dim {
				sum := 0.0
				for k, v := range mat.Row(x, i) {
					sum += float64(v) * float64(mat.Row(m, k)[j]) * 0.15
				}
				mat.Row(y, i)[j] = float32(math.Tanh(sum))
			}
		}
		return y
	}
	want := answer(x)
	wrong := map[Compensation]float64{}
	for _, k := range []Compensation{Identity, None, Interpolate} {
		c, p := compressor(t, Config{Compensation: k}, dim, 1).Compress(x, []int{rows})
		y := like(x)
		p.Restore(y, answer(c))
		for i := range rows {
			wrong[k] += squared(mat.Row(want, i), mat.Row(y, i))
		}
	}
	require.Less(t, wrong[Interpolate], 0.5*wrong[None])
	require.Less(t, wrong[Interpolate], 0.5*wrong[Identity])
}

// Rows that are all equal to their centroids get its answer.
func TestInterpolationOfCopies(t *testing.T) {
	r := seeded(t)
	x, dim := matrix(r, 100, 12), 12
	for i := range 100 {
		copy(mat.Row(x, i), mat.Row(x, i%10))
	}
	c, p := compressor(t, Config{Compensation: Interpolate, Rate: 0.1}, dim, 1).Compress(x, []int{100})
	for k := range c.Rows { // means of equal rows, without their rounding
		copy(mat.Row(c, k), mat.Row(x, int(p.members(k)[0])))
	}
	y := like(x)
	p.Restore(y, c)
	requireSameBits(t, x, y, "copies")
}

func TestInvert(t *testing.T) {
	r := seeded(t)
	for _, n := range []int{1, 2, 3, 4, 5, 8, 33} {
		x := matrix(r, n, n+2)
		a := like(blas32.General{Rows: n, Cols: n})
		for i := range n {
			for j := range n {
				for k, v := range mat.Row(x, i) {
					mat.Row(a, i)[j] += v * mat.Row(x, j)[k] / float32(n)
				}
			}
		}
		var s spd
		inverse := s.invert(a, 0.5)
		for i := range n {
			for j := range n {
				sum := 0.5 * float64(mat.Row(inverse, i)[j])
				for k := range n {
					sum += float64(mat.Row(a, i)[k]) * float64(mat.Row(inverse, k)[j])
				}
				want := 0.0
				if i == j {
					want = 1
				}
				require.InDelta(t, want, sum, 1e-4, "%d×%d", n, n)
			}
		}
	}
}

// A matrix of equal rows and no ridge has no inverse; what comes out is finite all the same.
func TestInvertWithoutRidge(t *testing.T) {
	a := like(blas32.General{Rows: 6, Cols: 6})
	for i := range a.Data {
		a.Data[i] = 1
	}
	var s spd
	for _, v := range s.invert(a, 0).Data {
		require.True(t, finite(v))
	}
}
