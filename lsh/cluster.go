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
	ends := p.classEnds[g][:0]
	switch {
	case p.whole[g] || p.c.cfg.Bucketing == Cut && p.c.cfg.Centroids(x.Rows) == x.Rows:
		ends = append(ends, each(of))
	case w.classes.divide(x, &p.c.cfg):
		ends = w.clusterClasses(p.c, g, x, of, ends)
	default:
		ends = append(ends, w.clusterRows(p.c, g, x, of))
	}
	p.classEnds[g], p.clusters.CentroidEnds[g] = ends, last(ends)
}

// each makes every row a cluster, and returns how many there are.
func each(of []int32) int {
	for i := range of {
		of[i] = int32(i)
	}
	return len(of)
}

// clusterClasses finds the clusters of each class of rows, and appends to ends where those of each
// class end; the rows that are clusters of their own come last.
func (w *worker) clusterClasses(c *Compressor, g int, x blas32.General, of []int32, ends []int) []int {
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
		ends = append(ends, int(n))
	}
	for _, r := range k.apart {
		of[r] = n
		n++
	}
	if len(k.apart) > 0 {
		ends = append(ends, int(n))
	}
	return ends
}

// elsewhere stands for the number of a row group whose rows the control loop ignores.
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

// bucket makes clusters of equal tuples, or of tuples that are equal in the number of leading bits
// that the control loop has found: the number that would have given the previous batch the
// configured rate, or in the first batch that batch itself.
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
