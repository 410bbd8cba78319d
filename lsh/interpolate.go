package lsh

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/centroid"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// maxNodes bounds the number of centroids of one interpolation, since the work grows with its cube.
const maxNodes = 256

// If the regression has no useful result, a row gets the answer of its own centroid, as under
// [None]: if all rows of the block are equal to their centroids; if the length of its weights is
// above mostWeight, which with a ridge of 0.0003 or more happens only if the matrix cannot be
// solved; and if an answer that it uses is not finite.
const mostWeight = 32

// Two bounds keep the kernel's width in the range in which it distinguishes rows. The distance of a
// row from its centroid counts as at most a multiple of the median distance; and the width is at
// least the rounding error of a distance, as a fraction of the largest squared distance from the
// mean.
const (
	farOff    = 64 // times the mean: then it is the median that counts, widened times
	widened   = 8
	uncertain = 1e-4
)

// block is some neighbouring centroids of a row group, and the rows of their clusters.
type block struct {
	first, end int     // centroids
	rows       []int32 // that are not alone in their clusters
	memory     mat.Buffer
	weights    blas32.General // rows × centroids
}

// interpolant is the memory for the weights of one block.
type interpolant struct {
	nodes, points       mat.Buffer // measured from the nodes' mean
	between, toward     mat.Buffer
	mean, nodeSq, rowSq []float32
	origin, sorted      []float32
	own                 []float32 // squared distances between rows and their centroids
	all                 []int32
	spd                 spd
}

// Prepare computes the weights of [Interpolate]. Restore computes them otherwise: a caller that
// calls Prepare while the centroids are at the experts hides that time. Under another compensation
// it does nothing.
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

// weigh cuts the centroids of each class of a row group's rows into blocks of about one size and
// computes their weights.
func (w *worker) weigh(p *Pass, g int) {
	_, _, first, _ := p.clusters.Group(g)
	begin, at := first, 0
	for _, classEnd := range p.classEnds[g] {
		end := first + classEnd
		n := (end - begin + maxNodes - 1) / maxNodes
		for i := range n {
			if at == len(p.weights[g]) {
				p.weights[g] = append(p.weights[g], block{})
			}
			b := &p.weights[g][at]
			b.first, b.end = begin+i*(end-begin)/n, begin+(i+1)*(end-begin)/n
			w.weighBlock(p, b)
			at++
		}
		begin = end
	}
	p.weights[g] = p.weights[g][:at]
}

// weighBlock computes the weights of a block.
func (w *worker) weighBlock(p *Pass, b *block) {
	b.rows = b.rows[:0]
	for k := b.first; k < b.end; k++ {
		if m := p.members(k); len(m) > 1 {
			b.rows = append(b.rows, m...)
		}
	}
	b.weights = b.memory.Matrix(len(b.rows), b.end-b.first)
	if len(b.rows) > 0 {
		w.interpolant.weigh(p, b, p.c.cfg)
	}
}

// weigh computes W = A + (1 − A·1)·1ᵀ/m with A = k(X, C)·(k(C, C) + ridge)⁻¹ and k(u, v) =
// exp(−|u−v|²/2h²).
func (t *interpolant) weigh(p *Pass, b *block, cfg Config) {
	m := b.end - b.first
	nodes, points, ok := t.load(p, b)
	if !ok {
		onlyOwn(p, b)
		return
	}
	between, toward := t.between.Matrix(m, m), t.toward.Matrix(len(b.rows), m)
	gemm.Gemm(blas.NoTrans, blas.Trans, nodes, nodes, 0, between)
	gemm.Gemm(blas.NoTrans, blas.Trans, points, nodes, 0, toward)
	// Rows that are alone count as rows at no distance.
	total := len(p.order[p.begin[b.first]:p.begin[b.end]])
	h2 := t.width(cfg.Bandwidth, total)
	if !(h2 > 0) {
		onlyOwn(p, b)
		return
	}
	kernel(between, t.nodeSq, t.nodeSq, h2)
	kernel(toward, t.rowSq, t.nodeSq, h2)
	inverse := t.spd.invert(between, cfg.Ridge)
	gemm.Gemm(blas.NoTrans, blas.NoTrans, toward, inverse, 0, b.weights)
	for i := range b.weights.Rows {
		w := mat.Row(b.weights, i)
		rest := (1 - f32.Sum(w)) / float32(m)
		for k := range w {
			w[k] += rest
		}
		if !(f32.Dot(w, w) <= mostWeight*mostWeight) {
			b.own(p, i)
		}
	}
}

// width returns the squared width of the kernel for the given number of rows.
func (t *interpolant) width(bandwidth float32, rows int) float32 {
	sum := f32.Sum(t.own)
	if sum == 0 {
		return 0
	}
	h2 := bandwidth * sum / float32(rows)
	if slices.Max(t.own) > farOff*sum/float32(rows) {
		t.sorted = append(t.sorted[:0], t.own...)
		slices.Sort(t.sorted)
		h2 = min(h2, bandwidth*widened*t.sorted[len(t.sorted)/2])
	}
	return max(h2, uncertain*max(slices.Max(t.nodeSq), slices.Max(t.rowSq)))
}

// load measures a block's centroids and rows from the mean of its centroids, so that products lose
// little precision. If float32 cannot hold their squares it scales them. It returns false if a
// number is not finite.
func (t *interpolant) load(p *Pass, b *block) (nodes, points blas32.General, ok bool) {
	nodes, points = t.loadScaled(p, b, 1)
	most := float64(max(slices.Max(t.nodeSq), slices.Max(t.rowSq), slices.Max(t.own)))
	if most <= longest*longest && most >= shortest*shortest { // false of NaN
		return nodes, points, true
	}
	length := t.longest(p, b)
	if length == 0 || !(length <= math.MaxFloat64) {
		return nodes, points, length == 0
	}
	nodes, points = t.loadScaled(p, b, scaleOf(length))
	return nodes, points, true
}

// longest is the length of the longest row or centroid of a block; NaN or infinite if one is not
// finite.
func (t *interpolant) longest(p *Pass, b *block) (length float64) {
	for k := b.first; k < b.end; k++ {
		length = max(length, lengthOf(mat.Row(p.centroids, k)))
	}
	for _, r := range b.rows {
		length = max(length, lengthOf(mat.Row(p.x, int(r))))
	}
	return length
}

// loadScaled is load of rows and centroids times scale, a power of two.
func (t *interpolant) loadScaled(p *Pass, b *block, scale float32) (nodes, points blas32.General) {
	m := b.end - b.first
	nodes, points = t.nodes.Matrix(m, p.c.dim), t.points.Matrix(len(b.rows), p.c.dim)
	t.all = mat.Reuse(t.all, m)
	for k := range t.all {
		t.all[k] = int32(b.first + k)
	}
	t.mean = mat.Reuse(t.mean, p.c.dim)
	centroid.Sum(t.mean, p.centroids.Data, p.centroids.Stride, t.all, 1/float32(m))
	if !f32.Finite(t.mean) {
		meanOf(t.mean, p.centroids, t.all)
	}
	f32.Scale(t.mean, scale)
	t.nodeSq = mat.Reuse(t.nodeSq, m)
	for k := range m {
		t.nodeSq[k] = measured(mat.Row(nodes, k), scale, mat.Row(p.centroids, b.first+k), t.mean)
	}
	t.origin = mat.Reuse(t.origin, p.c.dim)
	t.rowSq = mat.Reuse(t.rowSq, len(b.rows))
	t.own = mat.Reuse(t.own, len(b.rows))
	for i, r := range b.rows {
		x, v := mat.Row(p.x, int(r)), mat.Row(points, i)
		copy(t.origin, mat.Row(p.centroids, int(p.clusters.Of[r])))
		f32.Scale(t.origin, scale)
		t.own[i] = measured(v, scale, x, t.origin)
		t.rowSq[i] = measured(v, scale, x, t.mean)
	}
	return nodes, points
}

// measured sets dst to x times scale less origin and returns its squared length.
func measured(dst []float32, scale float32, x, origin []float32) float32 {
	centroid.Residual(dst, scale, x, origin)
	return f32.Dot(dst, dst)
}

// kernel turns products into the kernel's values.
func kernel(m blas32.General, rowSq, colSq []float32, h2 float32) {
	scale := -1 / (2 * h2)
	for i := range m.Rows {
		v := mat.Row(m, i)
		for k := range v {
			v[k] = float32(max(rowSq[i]+colSq[k]-2*v[k], 0) * scale)
		}
		f32.Exp(v, v)
	}
}

// onlyOwn gives every row of a block its own centroid's answer, for rows that are all equal to
// their centroids.
func onlyOwn(p *Pass, b *block) {
	for i := range b.rows {
		b.own(p, i)
	}
}

// own gives the i-th of a block's rows its own centroid's answer.
func (b *block) own(p *Pass, i int) {
	w := mat.Row(b.weights, i)
	clear(w)
	w[int(p.clusters.Of[b.rows[i]])-b.first] = 1
}
