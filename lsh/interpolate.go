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

// These bound the number of centroids of one interpolation, since the work grows with its cube.
// Where band and ridge are chosen, 512 have 0.85 times the error of 256 with 4096 to 13 000 rows in
// a group, at twice the time; 1024 have 0.7 times the error, at 6 times.
const maxNodes, maxChosenNodes = 256, 512

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
	flat       bool    // rows get the answers of their own centroids
	// The kernel's squared width is unit times the band, which is 1 if Config.Bandwidth is set, and
	// at least least.
	unit, least float32
	apart       float32 // mean squared distance of rows from their centroids

	memory, nearMemory mat.Buffer
	near               blas32.General // squared distances between centroids
	weights            blas32.General // rows × centroids; before they are computed, squared distances
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
	trial               trial
}

// Prepare computes what the weights of [Interpolate] need of the rows; if Bandwidth and Ridge are
// given, the weights. Restore does it otherwise: a caller that calls Prepare while the centroids
// are at the experts hides that time. Under another compensation it does nothing.
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
	p.c.each(p, (*worker).divide)
	p.ready = true
}

// mostNodes is the most centroids of one interpolation.
func (c Config) mostNodes() int {
	if c.Bandwidth > 0 && c.Ridge > 0 {
		return maxNodes
	}
	return maxChosenNodes
}

// divide cuts the centroids of each class of a row group's rows into blocks of about one size, and
// measures them.
func (w *worker) divide(p *Pass, g int) {
	_, _, first, _ := p.clusters.Group(g)
	begin, at, most := first, 0, p.c.cfg.mostNodes()
	for _, classEnd := range p.classEnds[g] {
		end := first + classEnd
		n := (end - begin + most - 1) / most
		for i := range n {
			if at == len(p.weights[g]) {
				p.weights[g] = append(p.weights[g], block{})
			}
			b := &p.weights[g][at]
			b.first, b.end = begin+i*(end-begin)/n, begin+(i+1)*(end-begin)/n
			w.measureBlock(p, b)
			at++
		}
		begin = end
	}
	p.weights[g] = p.weights[g][:at]
	if cfg := p.c.cfg; cfg.Bandwidth > 0 && cfg.Ridge > 0 {
		w.weigh(p, g)
	}
}

// measureBlock lists the rows of a block and finds their distances.
func (w *worker) measureBlock(p *Pass, b *block) {
	b.rows = b.rows[:0]
	for k := b.first; k < b.end; k++ {
		if m := p.members(k); len(m) > 1 {
			b.rows = append(b.rows, m...)
		}
	}
	b.weights = b.memory.Matrix(len(b.rows), b.end-b.first)
	if b.flat = true; len(b.rows) > 0 {
		w.interpolant.measure(p, b, p.c.cfg.Bandwidth)
	}
}

// measure finds a block's squared distances and the kernel's unit of width. It leaves the block
// flat if a number is not finite, and if all rows are equal to their centroids.
func (t *interpolant) measure(p *Pass, b *block, bandwidth float32) {
	m := b.end - b.first
	nodes, points, ok := t.load(p, b)
	if !ok || f32.Sum(t.own) == 0 {
		return
	}
	b.near = b.nearMemory.Matrix(m, m)
	gemm.Gemm(blas.NoTrans, blas.Trans, nodes, nodes, 0, b.near)
	gemm.Gemm(blas.NoTrans, blas.Trans, points, nodes, 0, b.weights)
	distances(b.near, t.nodeSq, t.nodeSq)
	distances(b.weights, t.rowSq, t.nodeSq)
	b.unit = min(f32.Sum(t.nodeSq)/float32(m), 2*t.median(t.nodeSq)) // a few far ones do not count
	if bandwidth > 0 {
		// Rows that are alone count as rows at no distance.
		total := len(p.order[p.begin[b.first]:p.begin[b.end]])
		b.unit = t.width(bandwidth, total)
	}
	b.apart = f32.Sum(t.own) / float32(len(b.rows))
	b.least = uncertain * max(slices.Max(t.nodeSq), slices.Max(t.rowSq))
	b.flat = !(b.width(1) > 0)
}

// width is the squared width of the kernel at a band.
func (b *block) width(band float32) float32 { return max(band*b.unit, b.least) }

// weigh computes the weights of a row group.
func (w *worker) weigh(p *Pass, g int) {
	for i := range p.weights[g] {
		w.interpolant.weigh(p, &p.weights[g][i])
	}
}

// weigh computes W = A + (1 − A·1)·1ᵀ/m with A = k(X, C)·(k(C, C) + ridge)⁻¹ and k(u, v) =
// exp(−|u−v|²/2h²).
func (t *interpolant) weigh(p *Pass, b *block) {
	s := shape{own: true}
	if !b.flat {
		s = t.choose(p, b)
	}
	if s.own {
		for i := range b.rows {
			b.own(p, i)
		}
		return
	}
	m := b.end - b.first
	between, toward := t.between.Matrix(m, m), t.toward.Matrix(len(b.rows), m)
	kernel(between, b.near, b.width(s.band))
	kernel(toward, b.weights, b.width(s.band))
	inverse := t.spd.invert(between, s.ridge)
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
	h2 := bandwidth * sum / float32(rows)
	if slices.Max(t.own) > farOff*sum/float32(rows) {
		h2 = min(h2, bandwidth*widened*t.median(t.own))
	}
	return h2
}

func (t *interpolant) median(v []float32) float32 {
	t.sorted = append(t.sorted[:0], v...)
	slices.Sort(t.sorted)
	return t.sorted[len(t.sorted)/2]
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

// distances turns products into squared distances.
func distances(m blas32.General, rowSq, colSq []float32) {
	for i := range m.Rows {
		v := mat.Row(m, i)
		for k := range v {
			v[k] = max(rowSq[i]+colSq[k]-2*v[k], 0)
		}
	}
}

// kernel sets dst to the kernel's values at squared distances.
func kernel(dst, distances blas32.General, h2 float32) {
	scale := -1 / (2 * h2)
	for i := range dst.Rows {
		v := mat.Row(dst, i)
		for k, d := range mat.Row(distances, i) {
			v[k] = float32(d * scale)
		}
		f32.Exp(v, v)
	}
}

// own gives the i-th of a block's rows its own centroid's answer.
func (b *block) own(p *Pass, i int) {
	w := mat.Row(b.weights, i)
	clear(w)
	w[int(p.clusters.Of[b.rows[i]])-b.first] = 1
}
