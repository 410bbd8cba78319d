package lsh

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// TestLeftOutIsTheSlowOne: regression on the others, element by element.
func TestLeftOutIsTheSlowOne(t *testing.T) {
	r := seeded(t)
	for _, n := range []int{2, 3, 7, 20} {
		const columns, ridge = 3, 0.05
		x := matrix(r, n, 4)
		a := like(blas32.General{Rows: n, Cols: n})
		for i := range n {
			for j := range n {
				mat.Row(a, i)[j] = float32(math.Exp(-squared(mat.Row(x, i), mat.Row(x, j)) / 8))
			}
		}
		y := make([]float64, columns*n)
		for i := range y {
			y[i] = r.NormFloat64()
		}
		left, kept := 0.0, 0.0
		for c := range columns {
			for i := range n {
				left += math.Pow(regressed(a, ridge, y[c*n:][:n], i, i)-y[c*n+i], 2)
				kept += math.Pow(regressed(a, ridge, y[c*n:][:n], -1, i)-y[c*n+i], 2)
			}
		}
		var s spd
		gotLeft, gotKept := s.leftOut(a, ridge, y)
		require.InEpsilon(t, left, gotLeft, 1e-4, "%d", n)
		require.InEpsilon(t, kept, gotKept, 1e-4, "%d", n)
	}
}

// regressed is the value at point i of the regression of y on all points but one.
func regressed(a blas32.General, ridge float64, y []float64, without, i int) (value float64) {
	var m wide
	var b, toward []float64
	for j := range a.Rows {
		if j == without {
			continue
		}
		var row []float64
		for k, v := range mat.Row(a, j) {
			if k != without {
				row = append(row, float64(v))
			}
		}
		row[len(m)] += ridge
		m, b, toward = append(m, row), append(b, y[j]), append(toward, float64(mat.Row(a, i)[j]))
	}
	for j, c := range solve(m, b) {
		value += toward[j] * c
	}
	return value
}

// perceptron is a random expert of two layers: the larger steep, the faster its answers change.
func perceptron(r *rand.Rand, dim, hidden int, steep float64) func(blas32.General) blas32.General {
	in, out := matrix(r, hidden, dim), matrix(r, hidden, dim)
	return func(x blas32.General) blas32.General {
		y := like(x)
		for i := range x.Rows {
			for h := range hidden {
				v := float32(math.Tanh(steep * float64(f32.Dot(mat.Row(in, h), mat.Row(x, i)))))
				f32.Axpy(mat.Row(y, i), v, mat.Row(out, h))
			}
		}
		return y
	}
}

// wrongOf returns the root of the squared error of the answers under a configuration.
func wrongOf(t *testing.T, cfg Config, x blas32.General, expert func(blas32.General) blas32.General, noise float64) float64 {
	cfg.Workers, cfg.Seed = 1, 3
	c, p := compressor(t, cfg, x.Cols, 1).Compress(x, []int{x.Rows})
	y, answers, want := like(x), expert(c), expert(x)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range answers.Data {
		answers.Data[i] *= float32(1 + noise*r.NormFloat64())
	}
	p.Restore(y, answers)
	sum := 0.0
	for i := range x.Rows {
		require.True(t, f32.Finite(mat.Row(y, i)), "row %d", i)
		sum += squared(mat.Row(want, i), mat.Row(y, i))
	}
	return math.Sqrt(sum)
}

// hardGroups are rows on which a wrong kernel does harm.
func hardGroups(r *rand.Rand, rows, dim int) map[string]blas32.General {
	groups := map[string]blas32.General{
		"apart": matrix(r, rows, dim), "clumps": clumps(r, rows, dim, 1+rows/8, 0.3),
		"copies": clumps(r, rows, dim, 1+rows/8, 0), "nearly copies": clumps(r, rows, dim, 1+rows/8, 1e-3),
		"one row": clumps(r, rows, dim, 1, 0), "zeros": like(blas32.General{Rows: rows, Cols: dim}),
		"zeros and others": clumps(r, rows, dim, 1+rows/8, 0.3), "outliers": clumps(r, rows, dim, 1+rows/8, 0.3),
		"denormals": clumps(r, rows, dim, 1+rows/8, 0.3), "line": like(blas32.General{Rows: rows, Cols: dim}),
	}
	for i := range rows {
		if i%3 == 0 {
			clear(mat.Row(groups["zeros and others"], i))
			mat.Row(groups["outliers"], i)[1] *= float32(math.Pow(10, float64(i%7)))
		}
		f32.Scale(mat.Row(groups["denormals"], i), 1e-41)
		mat.Row(groups["line"], i)[0] = float32(i)
	}
	return groups
}

// TestChosenIsNotWorseThanNone, whatever the rows and the expert, by more than a third. Only where
// lengths are spread over six powers of ten may the errors of a few rows be several times as large:
// what is expected of a block is mostly that of its long rows.
func TestChosenIsNotWorseThanNone(t *testing.T) {
	r := seeded(t)
	for _, rows := range []int{5, 12, 40, 300} {
		const dim = 12
		for name, x := range hardGroups(r, rows, dim) {
			margin := 1.33
			if name == "outliers" {
				margin = 8
			}
			for _, steep := range []float64{0.02, 0.3, 3} {
				expert := perceptron(r, dim, 24, steep)
				none := wrongOf(t, Config{Compensation: None}, x, expert, 0)
				got := wrongOf(t, Config{}, x, expert, 0)
				require.LessOrEqual(t, got, margin*none+1e-3, "%d rows, %s, steep %v", rows, name, steep)
			}
		}
	}
}

// TestChosenFollowsNoise: exact answers get a small ridge, answers rounded to a few bits a large
// one. Either is far better than one ridge for both.
func TestChosenFollowsNoise(t *testing.T) {
	r := seeded(t)
	const rows, dim = 600, 12
	x, expert := matrix(r, rows, dim), perceptron(r, dim, 24, 0.02)
	for noise, ridge := range map[float64]float32{0: 0.03, 0.2: 0.0001} {
		fixed := wrongOf(t, Config{Bandwidth: 10, Ridge: ridge}, x, expert, noise)
		require.Less(t, wrongOf(t, Config{}, x, expert, noise), 0.7*fixed, "noise %v", noise)
		require.Less(t, wrongOf(t, Config{Bandwidth: 10}, x, expert, noise), fixed, "noise %v: only the ridge is chosen", noise)
		require.Less(t, wrongOf(t, Config{Ridge: ridge}, x, expert, noise), 1.5*fixed, "noise %v: only the band is chosen", noise)
	}
}

// TestOwnAnswersWhereRowsAreAtTheirCentroids: no curve is drawn through clumps that are apart.
func TestOwnAnswersWhereRowsAreAtTheirCentroids(t *testing.T) {
	r := seeded(t)
	x := clumps(r, 300, 12, 60, 1e-3)
	_, p := compressor(t, Config{}, 12, 1).Compress(x, []int{300})
	p.Restore(like(x), perceptron(r, 12, 24, 1)(p.centroids))
	w := p.Weights(0)
	for i, k := range p.clusters.Of {
		require.Equal(t, float32(1), mat.Row(w, i)[k])
	}
}

// TestZeroRowsGetTheirCentroidsAnswer, as do rows that are all equal.
func TestZeroRowsGetTheirCentroidsAnswer(t *testing.T) {
	x, answers := like(blas32.General{Rows: 50, Cols: 8}), matrix(seeded(t), 10, 8)
	for range 2 {
		_, p := compressor(t, Config{}, 8, 1).Compress(x, []int{50})
		y := like(x)
		p.Restore(y, answers)
		for i, k := range p.clusters.Of {
			require.Equal(t, mat.Row(answers, int(k)), mat.Row(y, i))
		}
		for i := range x.Data {
			x.Data[i] = 3
		}
	}
}
