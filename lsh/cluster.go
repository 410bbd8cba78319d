package lsh

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// worker is the memory of one goroutine.
type worker struct {
	classes     classes
	hashing     hashing
	cutter      cutter
	refiner     refiner
	interpolant interpolant
	residual    []float32
}

// cluster finds the clusters of row group g, numbered from 0, and leaves their number in
// CentroidEnds.
func (w *worker) cluster(p *Pass, g int) {
	begin, end := 0, p.clusters.RowEnds[g] // other workers are setting CentroidEnds
	if g > 0 {
		begin = p.clusters.RowEnds[g-1]
	}
	of, x := p.clusters.Of[begin:end], mat.Rows(p.x, begin, end)
	parts := p.parts[g][:0]
	switch {
	case p.whole[g] || p.c.cfg.Bucketing == Cut && p.c.cfg.Centroids(x.Rows) == x.Rows:
		parts = append(parts, each(of))
	case w.classes.divide(x, &p.c.cfg):
		parts = w.clusterClasses(p.c, g, x, of, parts)
	default:
		parts = append(parts, w.clusterRows(p.c, g, x, of))
	}
	p.parts[g], p.clusters.CentroidEnds[g] = parts, last(parts)
}

// each makes every row a cluster, and returns how many there are.
func each(of []int32) int {
	for i := range of {
		of[i] = int32(i)
	}
	return len(of)
}

// clusterClasses finds the clusters of each class of rows, and appends to parts where those of each
// end; what is apart is the last.
func (w *worker) clusterClasses(c *Compressor, g int, x blas32.General, of []int32, parts []int) []int {
	k := &w.classes
	n := int32(0)
	for i, rows := range k.list {
		k.of = mat.Reuse(k.of, len(rows))
		if i > 0 {
			g = elsewhere
		}
		made := w.clusterRows(c, g, k.gather(x, rows), k.of)
		for j, r := range rows {
			of[r] = n + k.of[j]
		}
		n += int32(made)
		parts = append(parts, int(n))
	}
	for _, r := range k.apart {
		of[r] = n
		n++
	}
	if len(k.apart) > 0 {
		parts = append(parts, int(n))
	}
	return parts
}

// elsewhere is in place of the number of a row group whose rows must not teach the control loop.
const elsewhere = -1

// clusterRows finds the clusters of rows of one class, numbered from 0, and returns how many there
// are.
func (w *worker) clusterRows(c *Compressor, g int, x blas32.General, of []int32) (n int) {
	exact := c.cfg.Centroids(x.Rows)
	switch {
	case c.cfg.Bucketing != Cut && x.Rows > 0:
		w.sort(c.hasher, x)
		n = w.bucket(c, g, x.Rows, of)
	case exact == x.Rows:
		n = each(of)
	case exact == 1:
		clear(of)
		n = 1
	default:
		w.sort(c.hasher, x)
		w.cutter.exactly(exact, c.hasher, &w.hashing)
		n = w.number(of)
	}
	if n > 1 && n < x.Rows {
		w.refiner.refine(x, of, n, c.cfg.Refine)
	}
	return n
}

// sort hashes the rows of a row group and sorts them by their tuples.
func (w *worker) sort(h *Hasher, x blas32.General) {
	h.project(&w.hashing, x)
	w.hashing.code = mat.Reuse(w.hashing.code, h.cfg.Hashes)
	w.cutter.rows.items = mat.Reuse(w.cutter.rows.items, x.Rows)
	for i := range x.Rows {
		w.cutter.rows.items[i] = item{h.tuple(&w.hashing, i), int32(i)}
	}
	w.cutter.rows.sort(h.bits())
}

// number gives the sorted rows the numbers of their clusters, and returns how many there are.
func (w *worker) number(of []int32) int {
	k := int32(-1)
	for i, v := range w.cutter.rows.items {
		if w.cutter.first[i] {
			k++
		}
		of[v.at] = k
	}
	return int(k) + 1
}

// bucket makes clusters of equal tuples, or of as much of them as the control loop has found: so
// many leading bits as would have given the batch before the rate that was asked for; the first
// batch, itself.
func (w *worker) bucket(c *Compressor, g, rows int, of []int32) int {
	if c.cfg.Bucketing == Joint {
		w.cutter.leading(float64(c.hasher.bits()), c.hasher)
		return w.number(of)
	}
	depth := w.cutter.suitable(c.cfg.Rate*float64(rows), c.hasher)
	if g != elsewhere {
		if before := c.depth[g]; before != 0 {
			depth, c.depth[g] = before, depth
		} else {
			c.depth[g] = depth
		}
	}
	w.cutter.leading(depth, c.hasher)
	return w.number(of)
}
