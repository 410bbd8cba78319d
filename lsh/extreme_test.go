package lsh

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// tanhOf is a smooth expert: tanh of a matrix times the row, row by row.
func tanhOf(x, m blas32.General) blas32.General {
	y := like(x)
	for i := range x.Rows {
		for j := range x.Cols {
			sum := 0.0
			for k, v := range mat.Row(x, i) {
				sum += float64(v) * float64(mat.Row(m, k)[j]) * 0.15
			}
			mat.Row(y, i)[j] = float32(math.Tanh(sum))
		}
	}
	return y
}

// extremePass is one batch through a compressor, each row with its own gradient, and a smooth
// expert.
type extremePass struct {
	c               *Compressor
	p               *Pass
	centroids       blas32.General
	y, dAnswers, dx blas32.General
}

func passOf(t *testing.T, cfg Config, x, dy, expert blas32.General) extremePass {
	t.Helper()
	e := extremePass{c: compressor(t, cfg, x.Cols, 1), y: like(x), dx: like(x)}
	e.centroids, e.p = e.c.Compress(x, []int{x.Rows})
	e.p.Restore(e.y, tanhOf(e.centroids, expert))
	e.dAnswers = e.p.RestoreBackward(dy)
	e.p.CompressBackward(e.dx, mat.Rows(like(blas32.General{Rows: x.Rows, Cols: x.Cols}), 0, e.centroids.Rows))
	return e
}

// everyCompression is every compensation and bucketing, some with Lloyd iterations.
func everyCompression() (list []Config) {
	for k := range Compensation(compensations) {
		for b := range Bucketing(bucketings) {
			list = append(list, Config{Compensation: k, Bucketing: b, Gain: 0.2, Refine: int(k)%2*2 - 1, Rate: 0.3, Workers: 1})
		}
	}
	return list
}

// TestLongRowsTouchNoOthers: whatever a few rows hold, the others have the bits that they have
// without them.
func TestLongRowsTouchNoOthers(t *testing.T) {
	r := seeded(t)
	const rows, dim = 64, 24
	rest, dy, expert := clumps(r, rows, dim, 10, 0.4), matrix(r, rows, dim), matrix(r, dim, dim)
	for _, cfg := range everyCompression() {
		want := passOf(t, cfg, rest, dy, expert)
		for name, factors := range map[string][]float32{
			"thousandfold": {1000}, "ten thousandfold": {1e4}, "several": {300, 1e30, 1e6, 3e37}, "largest": {3e38}, "none": {float32(math.NaN())},
			"infinite": {float32(math.Inf(-1)), 2000}, "opposite": {1e37, -1e37},
		} {
			t.Run(fmt.Sprintf("%v/%v/%s", cfg.Compensation, cfg.Bucketing, name), func(t *testing.T) {
				x, d := matrix(r, rows+len(factors), dim), matrix(r, rows+len(factors), dim)
				at := func(i int) int { // long rows stand among the others
					return i + min(i/5, len(factors))
				}
				for i := range rows {
					copy(mat.Row(x, at(i)), mat.Row(rest, i))
					copy(mat.Row(d, at(i)), mat.Row(dy, i))
				}
				for i, f := range factors {
					for j := range dim {
						mat.Row(x, 6*i+5)[j] = f * (0.5 + r.Float32()/2)
					}
				}
				got := passOf(t, cfg, x, d, expert)
				for i := range rows {
					require.Equal(t, mat.Row(want.y, i), mat.Row(got.y, at(i)), "answer of row %d", i)
					require.Equal(t, mat.Row(want.dx, i), mat.Row(got.dx, at(i)), "gradient of row %d", i)
				}
				require.Equal(t, want.centroids.Rows+len(factors), got.centroids.Rows)
				for i := range factors {
					require.Len(t, got.p.members(int(got.p.clusters.Of[6*i+5])), 1, "row %d", 6*i+5)
				}
			})
		}
	}
}

// TestLongRowsOfSmallGroups: several among few rows are still clusters of their own; many are
// compressed among themselves, apart from the others.
func TestLongRowsOfSmallGroups(t *testing.T) {
	r := seeded(t)
	for _, c := range []struct{ rows, long, clusters int }{{2, 1, 2}, {4, 2, 3}, {8, 3, 4}, {20, 8, 11}, {100, 40, 20}, {100, 49, 21}} {
		x := clumps(r, c.rows, 24, 5, 0.3)
		for i := range c.long {
			for j := range x.Cols {
				mat.Row(x, c.rows-1-i)[j] *= 1000
			}
		}
		_, p := compressor(t, Config{}, 24, 1).Compress(x, []int{c.rows})
		require.Equal(t, c.clusters, p.clusters.Centroids(), "%d of %d rows", c.long, c.rows)
		for i := range c.rows {
			for j := range c.rows {
				if i < c.rows-c.long && j >= c.rows-c.long {
					require.NotEqual(t, p.clusters.Of[i], p.clusters.Of[j], "rows %d and %d", i, j)
				}
			}
		}
	}
}

// TestNoNumberIsMadeOfNothing: finite rows of any size give finite answers and gradients, and rows
// of one size near those of a pass in which all are of order one.
func TestNoNumberIsMadeOfNothing(t *testing.T) {
	r := seeded(t)
	const rows, dim = 96, 20
	base, dy, expert := clumps(r, rows, dim, 8, 0.3), matrix(r, rows, dim), matrix(r, dim, dim)
	largest := float32(0)
	for _, v := range base.Data {
		largest = max(largest, v, -v)
	}
	for name, change := range map[string]func(i, j int, v float32) float32{
		"tiny":       func(_, _ int, v float32) float32 { return v * 1e-25 },
		"denormal":   func(_, _ int, v float32) float32 { return v * 1e-40 },
		"huge":       func(_, _ int, v float32) float32 { return v / largest * 1e30 },
		"largest":    func(_, _ int, v float32) float32 { return v / largest * 3.4e38 },
		"zeros":      func(int, int, float32) float32 { return 0 },
		"some zeros": func(i, _ int, v float32) float32 { return v * float32(i%2) },
		"equal":      func(_, j int, _ float32) float32 { return base.Data[j] },
		"all sizes":  func(i, _ int, v float32) float32 { return v / largest * float32(math.Pow(10, float64(i%76)-38)) },
		"two sizes":  func(i, _ int, v float32) float32 { return v / largest * []float32{1, 1e20}[i%2] },
		"signs":      func(i, _ int, v float32) float32 { return []float32{3.4e38, -3.4e38}[i%2] },
		"nearly":     func(i, j int, _ float32) float32 { return base.Data[j+i%7*base.Stride] * (1 + float32(i/7)*1e-7) },
	} {
		for _, cfg := range everyCompression() {
			for _, wide := range []float32{1, 1e30, 3e38} {
				t.Run(fmt.Sprintf("%s/%v/%v/%v", name, cfg.Compensation, cfg.Bucketing, wide), func(t *testing.T) {
					x, d := like(base), like(dy)
					for i := range rows {
						for j := range dim {
							mat.Row(x, i)[j] = change(i, j, mat.Row(base, i)[j])
							mat.Row(d, i)[j] = mat.Row(dy, i)[j] / 8 * wide
						}
					}
					e := passOf(t, cfg, x, d, expert)
					for what, m := range map[string]blas32.General{"centroids": e.centroids, "answers": e.y, "gradient of answers": e.dAnswers, "gradient of rows": e.dx} {
						for i := range m.Rows {
							for _, v := range mat.Row(m, i) {
								require.False(t, v != v, "%s: row %d is %v", what, i, mat.Row(m, i))
							}
						}
					}
					if cfg.Compensation.Learned() {
						for _, v := range e.p.GainGrads() {
							require.False(t, v != v)
						}
					}
				})
			}
		}
	}
}

// TestScaleOfRowsDoesNotCount: rows that are a power of two times others have the same clusters,
// and answers by the same weights.
func TestScaleOfRowsDoesNotCount(t *testing.T) {
	r := seeded(t)
	const rows, dim = 200, 24
	x, dy, expert := clumps(r, rows, dim, 12, 0.4), matrix(r, rows, dim), matrix(r, dim, dim)
	for _, cfg := range []Config{{Rate: 0.2, Refine: -1}, {Rate: 0.4}, {Rate: 0.3, Centre: Origin}} {
		cfg.Bandwidth, cfg.Ridge = 20, 0.003
		want := passOf(t, cfg, x, dy, expert)
		for _, exponent := range []int{-100, -60, -20, 10, 60, 120} {
			scaled := like(x)
			for i := range rows {
				for j, v := range mat.Row(x, i) {
					mat.Row(scaled, i)[j] = float32(math.Ldexp(float64(v), exponent))
				}
			}
			got := passOf(t, cfg, scaled, dy, expert)
			require.Equal(t, want.p.clusters.Of, got.p.clusters.Of, "2^%d", exponent)
			w, g := want.p.Weights(0), got.p.Weights(0)
			for i := range w.Data {
				require.InDelta(t, w.Data[i], g.Data[i], 1e-4, "2^%d", exponent)
			}
		}
	}
}

// TestInterpolationWithNumbersThatAreNotFinite: an answer or a gradient that is not finite reaches
// the rows of its own cluster alone.
func TestInterpolationWithNumbersThatAreNotFinite(t *testing.T) {
	r := seeded(t)
	const rows, dim = 64, 16
	x, dy := clumps(r, rows, dim, 10, 0.4), matrix(r, rows, dim)
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
		c := compressor(t, Config{Rate: 0.3}, dim, 1)
		m, p := c.Compress(x, []int{rows})
		answers := matrix(r, m.Rows, dim)
		mat.Row(answers, 2)[1] = bad
		y := like(x)
		p.Restore(y, answers)
		culprit := int(p.members(4)[0])
		mat.Row(dy, culprit)[3] = bad
		d := p.RestoreBackward(dy)
		for i := range rows {
			for j, v := range mat.Row(y, i) {
				require.Equal(t, p.clusters.Of[i] == 2 && j == 1, v-v != 0, "row %d, column %d: %v", i, j, v)
			}
		}
		for k := range d.Rows {
			for j, v := range mat.Row(d, k) {
				require.Equal(t, k == 4 && j == 3, v-v != 0, "centroid %d, column %d: %v", k, j, v)
			}
		}
	}
}

// TestCopiesWithRounding: rows that are copies but for rounding get the answer of their own
// centroid, whatever the distance of the others.
func TestCopiesWithRounding(t *testing.T) {
	r := seeded(t)
	const dim, kinds, each = 32, 8, 7
	kind, expert := matrix(r, kinds, dim), matrix(r, dim, dim)
	x := like(blas32.General{Rows: kinds * each, Cols: dim})
	for i := range x.Rows {
		copy(mat.Row(x, i), mat.Row(kind, i%kinds))
	}
	e := passOf(t, Config{Rate: 1. / each}, x, like(x), expert)
	want := tanhOf(x, expert)
	for i := range x.Rows {
		for j, v := range mat.Row(want, i) {
			require.InDelta(t, v, mat.Row(e.y, i)[j], 0.05, "row %d, column %d", i, j)
		}
	}
}
