package lsh

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// wide is a matrix in float64.
type wide [][]float64

func widen(m blas32.General) wide {
	w := make(wide, m.Rows)
	for i := range w {
		w[i] = make([]float64, m.Cols)
		for j, v := range mat.Row(m, i) {
			w[i][j] = float64(v)
		}
	}
	return w
}

// reference is a layer of experts between the two compressed legs, by its definition and in
// float64: expert g answers tanh(c·M_g) to each centroid of row group g. Clusters and weights are
// constants.
type reference struct {
	clusters *Clusters
	kind     Compensation
	gains    [][]float64 // by row group and column, which may share one
	weights  []wide      // of Interpolate, by row group
	experts  []wide
	dy       wide
}

func (f reference) centroids(x wide) wide {
	c, n := make(wide, f.clusters.Centroids()), make([]float64, f.clusters.Centroids())
	for i, k := range f.clusters.Of {
		if c[k] == nil {
			c[k] = make([]float64, len(x[i]))
		}
		n[k]++
		for j, v := range x[i] {
			c[k][j] += v
		}
	}
	for k := range c {
		for j := range c[k] {
			c[k][j] /= n[k]
		}
	}
	return c
}

func (f reference) answer(g int, c []float64) []float64 {
	e := make([]float64, len(c))
	for j := range e {
		for l, v := range c {
			e[j] += v * f.experts[g][l][j]
		}
		e[j] = math.Tanh(e[j])
	}
	return e
}

// forward returns the answers of the rows, and of the centroids.
func (f reference) forward(x wide) (y, answers wide) {
	c := f.centroids(x)
	y, answers = make(wide, len(x)), make(wide, len(c))
	for g := range f.gains {
		begin, end, first, last := f.clusters.Group(g)
		for k := first; k < last; k++ {
			answers[k] = f.answer(g, c[k])
		}
		for i := begin; i < end; i++ {
			k := int(f.clusters.Of[i])
			y[i] = make([]float64, len(x[i]))
			for j := range y[i] {
				if f.kind == Interpolate {
					for l := first; l < last; l++ {
						y[i][j] += f.weights[g][i-begin][l-first] * answers[l][j]
					}
					continue
				}
				y[i][j] = answers[k][j] + f.gains[g][j%len(f.gains[g])]*(x[i][j]-c[k][j])
			}
		}
	}
	return y, answers
}

func (f reference) loss(x wide) (sum float64) {
	y, _ := f.forward(x)
	for i := range y {
		for j, v := range y[i] {
			sum += v * f.dy[i][j]
		}
	}
	return sum
}

// slope is the derivative of the loss by *v.
func (f reference) slope(x wide, v *float64) float64 {
	const h = 1e-5
	at := *v
	*v = at + h
	up := f.loss(x)
	*v = at - h
	down := f.loss(x)
	*v = at
	return (up - down) / (2 * h)
}

// expertBackward is what the experts send back: the gradient with respect to the centroids.
func (f reference) expertBackward(dst, dAnswers blas32.General, answers wide) {
	for g := range f.gains {
		_, _, first, last := f.clusters.Group(g)
		for k := first; k < last; k++ {
			for j := range dAnswers.Cols {
				sum := 0.0
				for l, e := range answers[k] {
					sum += f.experts[g][j][l] * (1 - e*e) * float64(mat.Row(dAnswers, k)[l])
				}
				mat.Row(dst, k)[j] = float32(sum)
			}
		}
	}
}

func TestGradientsAreExact(t *testing.T) {
	r := seeded(t)
	for k := range Compensation(compensations) {
		for _, cfg := range []Config{{Rate: 0.2, Refine: -1}, {Rate: 0.5}, {Bucketing: Joint, Hashes: 2, Width: 2}} {
			cfg.Compensation, cfg.Gain, cfg.Seed = k, 0.3, r.Uint64()
			checkGradients(t, r, cfg)
		}
	}
}

func checkGradients(t *testing.T, r *rand.Rand, cfg Config) {
	t.Helper()
	const rows, dim = 40, 6
	x, dy, ends := clumps(r, rows, dim, 6, 0.5), matrix(r, rows, dim), []int{17, 17, 39, rows}
	c := compressor(t, cfg, dim, len(ends))
	for i := range c.Gains() {
		if cfg.Compensation.Learned() {
			c.Gains()[i] = float32(i%7)/8 - 0.25
		}
	}
	centroids, p := c.Compress(x, ends)
	f := reference{clusters: p.Clusters(), kind: cfg.Compensation, dy: widen(dy)}
	for g := range ends {
		n := cfg.Compensation.gainsOf(dim)
		gains := map[Compensation][]float64{Identity: {1}, Gain: {float64(cfg.Gain)}}[cfg.Compensation]
		if cfg.Compensation.Learned() {
			for _, v := range c.Gains()[g*n:][:n] {
				gains = append(gains, float64(v))
			}
		} else if gains == nil {
			gains = []float64{0}
		}
		f.gains = append(f.gains, gains)
		m := widen(matrix(r, dim, dim))
		for i := range m {
			for j := range m[i] {
				m[i][j] *= 0.3
			}
		}
		f.experts = append(f.experts, m)
		begin, end, first, last := p.clusters.Group(g)
		f.weights = append(f.weights, widen(like(blas32.General{Rows: end - begin, Cols: last - first})))
	}
	wx := widen(x)
	_, wideAnswers := f.forward(wx)
	answers, y, dx := like(centroids), like(x), like(x)
	for k := range wideAnswers {
		for j, v := range wideAnswers[k] {
			mat.Row(answers, k)[j] = float32(v)
		}
	}
	p.Restore(y, answers)
	for g := range ends {
		if cfg.Compensation == Interpolate {
			f.weights[g] = widen(p.Weights(g))
		}
	}
	wantY, _ := f.forward(wx)
	dCentroids := like(centroids)
	f.expertBackward(dCentroids, p.RestoreBackward(dy), wideAnswers)
	p.CompressBackward(dx, dCentroids)
	for i := range wx {
		for j := range wx[i] {
			require.InDelta(t, wantY[i][j], mat.Row(y, i)[j], 1e-4, "%+v: answer of row %d", cfg, i)
			require.InDelta(t, f.slope(wx, &wx[i][j]), mat.Row(dx, i)[j], 2e-4, "%+v: gradient of row %d", cfg, i)
		}
	}
	if !cfg.Compensation.Learned() {
		require.Panics(t, func() { p.GainGrads() })
		return
	}
	i := 0
	for g := range ends {
		for j := range f.gains[g] {
			require.InDelta(t, f.slope(wx, &f.gains[g][j]), p.GainGrads()[i], 1e-3, "gradient of gain %d of group %d", j, g)
			i++
		}
	}
	require.Len(t, p.GainGrads(), i)
}
