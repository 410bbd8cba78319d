package lsh

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// blend sets the answers of a row group's rows to the weighted answers of its centroids.
func (w *worker) blend(p *Pass, g int) {
	if cfg := p.c.cfg; cfg.Bandwidth == 0 || cfg.Ridge == 0 {
		w.weigh(p, g)
	}
	for i := range p.weights[g] {
		b := &p.weights[g][i]
		answers := mat.Rows(p.from, b.first, b.end)
		for begin := 0; begin < len(b.rows); begin += tile {
			rows := b.rows[begin:min(begin+tile, len(b.rows))]
			y := w.interpolant.points.Matrix(len(rows), p.c.dim)
			gemm.Gemm(blas.NoTrans, blas.NoTrans, mat.Rows(b.weights, begin, begin+len(rows)), answers, 0, y)
			for j, r := range rows {
				to := mat.Row(p.to, int(r))
				if copy(to, mat.Row(y, j)); !f32.Finite(to) {
					b.own(p, begin+j)
					copy(to, mat.Row(p.from, int(p.clusters.Of[r])))
				}
			}
		}
		for k := b.first; k < b.end; k++ {
			if m := p.members(k); len(m) == 1 {
				copy(mat.Row(p.to, int(m[0])), mat.Row(p.from, k))
			}
		}
	}
}

// unblend sets the gradients of the answers of a row group's centroids, from those of its rows'
// answers.
func (w *worker) unblend(p *Pass, g int) {
	for i := range p.weights[g] {
		b := &p.weights[g][i]
		d := mat.Rows(p.dAnswers, b.first, b.end)
		if len(b.rows) > 0 {
			dy := w.interpolant.points.Matrix(len(b.rows), p.c.dim)
			for j, r := range b.rows {
				if copy(mat.Row(dy, j), mat.Row(p.dy, int(r))); !f32.Finite(mat.Row(dy, j)) {
					clear(mat.Row(dy, j)) // its own centroid gets it below
				}
			}
			gemm.Gemm(blas.Trans, blas.NoTrans, b.weights, dy, 0, d)
			for k := range d.Rows {
				if !f32.Finite(mat.Row(d, k)) {
					b.wideSum(mat.Row(d, k), k, dy)
				}
			}
			b.addInfinite(p, d)
		}
		for k := range d.Rows {
			m := p.members(b.first + k)
			switch {
			case len(m) > 1:
			case len(b.rows) > 0:
				f32.Add(mat.Row(d, k), mat.Row(p.dy, int(m[0])))
			default: // nothing else reaches it
				copy(mat.Row(d, k), mat.Row(p.dy, int(m[0])))
			}
		}
	}
}

// wideSum sets dst to column k of the weights times dy in float64: float32 sums that overflow both
// ways are NaN.
func (b *block) wideSum(dst []float32, k int, dy blas32.General) {
	for c := range dst {
		sum := 0.0
		for j := range dy.Rows {
			sum += float64(float64(mat.Row(b.weights, j)[k]) * float64(mat.Row(dy, j)[c]))
		}
		dst[c] = float32(sum)
	}
}

// addInfinite adds rows of dy that are not finite to the gradient of their own centroids' answers,
// and of no others.
func (b *block) addInfinite(p *Pass, d blas32.General) {
	for _, r := range b.rows {
		if v := mat.Row(p.dy, int(r)); !f32.Finite(v) {
			f32.Add(mat.Row(d, int(p.clusters.Of[r])-b.first), v)
		}
	}
}

// Weights returns the weights of [Interpolate] for a row group after Restore, or, if Bandwidth and
// Ridge are given, after Prepare: its rows × its centroids, in a new matrix. Weights of answers
// that are not blended are 0. Restore changes those of the rows that it cannot interpolate.
func (p *Pass) Weights(g int) blas32.General {
	chosen := p.c.cfg.Bandwidth == 0 || p.c.cfg.Ridge == 0
	if !p.ready || chosen && p.stage < restored {
		panic("lsh: Weights before they are computed")
	}
	begin, end, first, last := p.clusters.Group(g)
	var fresh mat.Buffer
	m := fresh.Matrix(end-begin, last-first)
	for i := range p.weights[g] {
		b := &p.weights[g][i]
		for j, r := range b.rows {
			copy(mat.Row(m, int(r)-begin)[b.first-first:], mat.Row(b.weights, j))
		}
	}
	for k := first; k < last; k++ {
		if alone := p.members(k); len(alone) == 1 {
			mat.Row(m, int(alone[0])-begin)[k-first] = 1
		}
	}
	return m
}
