package lsh

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

func requireSameBits(t *testing.T, want, got blas32.General, format string, args ...any) {
	t.Helper()
	for i := range want.Rows {
		for j, w := range mat.Row(want, i) {
			if g := mat.Row(got, i)[j]; math.Float32bits(w) != math.Float32bits(g) {
				require.Failf(t, fmt.Sprintf(format, args...), "row %d, column %d is %v, not %v", i, j, g, w)
			}
		}
	}
}

// wild draws rows of very unequal magnitudes, with zeros of both signs: what rounding would show
// on.
func wild(t *testing.T, rows, dim int) blas32.General {
	r := seeded(t)
	x := matrix(r, rows, dim)
	for i := range x.Data {
		x.Data[i] *= float32(math.Pow(10, float64(r.IntN(12)-6)))
		if r.IntN(20) == 0 {
			x.Data[i] = float32(math.Copysign(0, float64(r.IntN(2))-0.5))
		}
	}
	return x
}

func TestIdentityExpertsGiveTheInputBack(t *testing.T) {
	for _, rate := range []float64{0.05, 0.2, 0.7} {
		for _, b := range []Bucketing{Cut, Joint, Controlled} {
			const rows, dim = 200, 70
			x, dy := wild(t, rows, dim), wild(t, rows, dim)
			c := compressor(t, Config{Rate: rate, Bucketing: b, Compensation: Identity}, dim, 3)
			centroids, p := c.Compress(x, []int{50, 50, rows})
			y, dx := like(x), like(x)
			p.Restore(y, centroids)
			requireSameBits(t, x, y, "rate %v, %v", rate, b)
			p.CompressBackward(dx, p.RestoreBackward(dy))
			requireSameBits(t, dy, dx, "gradient, rate %v, %v", rate, b)
		}
	}
}

// At rate 1 every row travels as it is, and whatever comes back is its answer, forward and
// backward.
func TestRateOneKeepsBits(t *testing.T) {
	for k := range Compensation(compensations) {
		const rows, dim = 90, 33
		x, answers := wild(t, rows, dim), wild(t, rows, dim)
		dy, dCentroids := wild(t, rows, dim), wild(t, rows, dim)
		c := compressor(t, Config{Rate: 1, Compensation: k, Gain: 0.5, Refine: 1}, dim, 2)
		centroids, p := c.Compress(x, []int{40, rows})
		requireSameBits(t, x, centroids, "%v", k)
		y, dx := like(x), like(x)
		p.Restore(y, answers)
		requireSameBits(t, answers, y, "%v: answers", k)
		requireSameBits(t, dy, p.RestoreBackward(dy), "%v: gradient of answers", k)
		p.CompressBackward(dx, dCentroids)
		requireSameBits(t, dCentroids, dx, "%v: gradient of rows", k)
	}
}

// One after the other, in many ways: with memory used before, on other numbers of goroutines, with
// clusters given, into the rows' own memory. The bits are those of the first.
func TestSameRowsSameBits(t *testing.T) {
	r := seeded(t)
	for k := range Compensation(compensations) {
		const rows, dim, groups = 700, 65, 5
		cfg := Config{Compensation: k, Gain: 0.2, Refine: 1, Seed: r.Uint64(), Workers: 1}
		x, dy := clumps(r, rows, dim, 30, 0.4), matrix(r, rows, dim)
		ends, answers, dCentroids := some(r, rows, groups), matrix(r, rows, dim), matrix(r, rows, dim)
		type result struct{ centroids, y, dAnswers, dx blas32.General }
		run := func(c *Compressor, as *Clusters) (result, *Pass) {
			begin := c.Compress
			if as != nil {
				begin = func(x blas32.General, _ []int) (blas32.General, *Pass) { return c.CompressAs(x, as) }
			}
			centroids, p := begin(x, ends)
			res := result{centroids: centroids, y: like(x), dx: like(x)}
			p.Prepare()
			p.Restore(res.y, mat.Rows(answers, 0, centroids.Rows))
			res.dAnswers = p.RestoreBackward(dy)
			p.CompressBackward(res.dx, mat.Rows(dCentroids, 0, centroids.Rows))
			return res, p
		}
		one := compressor(t, cfg, dim, groups)
		want, first := run(one, nil)
		check := func(what string, got result) {
			requireSameBits(t, want.centroids, got.centroids, "%v, %s: centroids", k, what)
			requireSameBits(t, want.y, got.y, "%v, %s: answers", k, what)
			requireSameBits(t, want.dAnswers, got.dAnswers, "%v, %s: gradient of answers", k, what)
			requireSameBits(t, want.dx, got.dx, "%v, %s: gradient of rows", k, what)
		}
		_, used := one.Compress(matrix(r, rows, dim), some(r, rows, groups))
		used.Release()
		again, p := run(one, nil)
		check("memory used before", again)
		require.True(t, p.Clusters().Equal(first.Clusters()))
		given, _ := run(one, first.Clusters())
		check("clusters given", given)
		cfg.Workers = 3
		many, _ := run(compressor(t, cfg, dim, groups), nil)
		check("three goroutines", many)
	}
}

// The matrix of gradients may be taken again for the rows' gradients, and the rows' own for their
// answers.
func TestInPlace(t *testing.T) {
	r := seeded(t)
	for k := range Compensation(compensations) {
		const rows, dim = 60, 20
		x, dy, answers := clumps(r, rows, dim, 5, 0.3), matrix(r, rows, dim), matrix(r, rows, dim)
		c := compressor(t, Config{Compensation: k, Gain: 0.4}, dim, 1)
		y, dx := like(x), like(x)
		centroids, p := c.Compress(x, []int{rows})
		answers = mat.Rows(answers, 0, centroids.Rows)
		p.Restore(y, answers)
		p.RestoreBackward(dy)
		p.CompressBackward(dx, answers)
		p.Release()

		_, p = c.Compress(x, []int{rows})
		p.Restore(like(x), answers)
		p.RestoreBackward(dy)
		p.CompressBackward(dy, answers)
		requireSameBits(t, dx, dy, "%v: gradient", k)
		p.Release()
		_, p = c.Compress(x, []int{rows})
		p.Restore(x, answers)
		requireSameBits(t, y, x, "%v: answers", k)
	}
}
