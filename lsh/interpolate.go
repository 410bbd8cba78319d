package lsh

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/centroid"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
)

// maxNodes bounds the centroids that are interpolated through at once, since the work grows with their cube.
const maxNodes = 256

// block is some neighbouring centroids of a group, and the rows of their clusters.
type block struct {
	first, end int     // centroids
	rows       []int32 // that are not alone in their clusters
	memory     buffer
	weights    blas32.General // rows × centroids
}

// interpolant is the memory for the weights of one block.
type interpolant struct {
	nodes, points       buffer // measured from the nodes' mean
	between, toward     buffer
	mean, nodeSq, rowSq []float32
	own                 []float32 // squared distances between rows and their centroids
	all                 []int32
	spd                 spd
}

// Prepare computes the weights of [Interpolate], which Restore does otherwise: called before, while the centroids are away, it
// takes no time that is waited for. Under another compensation it does nothing.
func (p *Pass) Prepare() {
	if p.stage != compressed {
		panic("lsh: Prepare out of turn")
	}
	if p.ready || p.c.cfg.Compensation != Interpolate {
		return
	}
	for len(p.weights) < p.c.groups {
		p.weights = append(p.weights, nil)
	}
	p.c.each(p, (*worker).weigh)
	p.ready = true
}

// weigh cuts a group's centroids into blocks of about one size and computes their weights.
func (w *worker) weigh(p *Pass, g int) {
	_, _, first, end := p.clusters.Group(g)
	n := (end - first + maxNodes - 1) / maxNodes
	for len(p.weights[g]) < n {
		p.weights[g] = append(p.weights[g], block{})
	}
	p.weights[g] = p.weights[g][:n]
	for i := range p.weights[g] {
		b := &p.weights[g][i]
		b.first, b.end = first+i*(end-first)/n, first+(i+1)*(end-first)/n
		b.rows = b.rows[:0]
		for k := b.first; k < b.end; k++ {
			if m := p.members(k); len(m) > 1 {
				b.rows = append(b.rows, m...)
			}
		}
		b.weights = b.memory.matrix(len(b.rows), b.end-b.first)
		if len(b.rows) > 0 {
			w.interpolant.weigh(p, b, p.c.cfg)
		}
	}
}

// weigh computes W = A + (1 − A·1)·1ᵀ/m with A = k(X, C)·(k(C, C) + ridge)⁻¹ and k(u, v) = exp(−|u−v|²/2h²).
func (t *interpolant) weigh(p *Pass, b *block, cfg Config) {
	m := b.end - b.first
	nodes, points := t.load(p, b)
	between, toward := t.between.matrix(m, m), t.toward.matrix(len(b.rows), m)
	gemm.Gemm(blas.NoTrans, blas.Trans, nodes, nodes, 0, between)
	gemm.Gemm(blas.NoTrans, blas.Trans, points, nodes, 0, toward)
	// Rows that are alone count as rows at no distance.
	total := len(p.order[p.begin[b.first]:p.begin[b.end]])
	h2 := cfg.Bandwidth * f32.Sum(t.own) / float32(total)
	if !(h2 > 0) {
		onlyOwn(p, b)
		return
	}
	kernel(between, t.nodeSq, t.nodeSq, h2)
	kernel(toward, t.rowSq, t.nodeSq, h2)
	inverse := t.spd.invert(between, cfg.Ridge)
	gemm.Gemm(blas.NoTrans, blas.NoTrans, toward, inverse, 0, b.weights)
	for i := range b.weights.Rows {
		w := row(b.weights, i)
		rest := (1 - f32.Sum(w)) / float32(m)
		for k := range w {
			w[k] += rest
		}
	}
}

// load measures a block's centroids and rows from the mean of its centroids, so that products lose little.
func (t *interpolant) load(p *Pass, b *block) (nodes, points blas32.General) {
	m := b.end - b.first
	nodes, points = t.nodes.matrix(m, p.c.dim), t.points.matrix(len(b.rows), p.c.dim)
	resize(&t.all, m)
	for k := range t.all {
		t.all[k] = int32(b.first + k)
	}
	resize(&t.mean, p.c.dim)
	centroid.Sum(t.mean, p.centroids.Data, p.centroids.Stride, t.all, 1/float32(m))
	resize(&t.nodeSq, m)
	for k := range m {
		t.nodeSq[k] = measured(row(nodes, k), row(p.centroids, b.first+k), t.mean)
	}
	resize(&t.rowSq, len(b.rows))
	resize(&t.own, len(b.rows))
	for i, r := range b.rows {
		x, v := row(p.x, int(r)), row(points, i)
		t.own[i] = measured(v, x, row(p.centroids, int(p.clusters.Of[r])))
		t.rowSq[i] = measured(v, x, t.mean)
	}
	return nodes, points
}

// measured sets dst to x less origin and returns its squared length.
func measured(dst, x, origin []float32) float32 {
	centroid.Residual(dst, 1, x, origin)
	return f32.Dot(dst, dst)
}

// kernel turns products into the kernel's values.
func kernel(m blas32.General, rowSq, colSq []float32, h2 float32) {
	scale := -1 / (2 * h2)
	for i := range m.Rows {
		v := row(m, i)
		for k := range v {
			v[k] = float32(max(rowSq[i]+colSq[k]-2*v[k], 0) * scale)
		}
		f32.Exp(v, v)
	}
}

// onlyOwn gives every row of a block its own centroid's answer, for rows that are all equal to their centroids.
func onlyOwn(p *Pass, b *block) {
	clear(b.weights.Data)
	for i, r := range b.rows {
		row(b.weights, i)[int(p.clusters.Of[r])-b.first] = 1
	}
}
