package lsh

import "gonum.org/v1/gonum/blas/blas32"

// worker is the memory of one goroutine.
type worker struct {
	hashing     hashing
	cutter      cutter
	refiner     refiner
	interpolant interpolant
	residual    []float32
}

// cluster finds the clusters of group g, numbered from 0, and leaves their number in CentroidEnds.
func (w *worker) cluster(p *Pass, g int) {
	begin, end := 0, p.clusters.RowEnds[g] // other workers are setting CentroidEnds
	if g > 0 {
		begin = p.clusters.RowEnds[g-1]
	}
	of, n := p.clusters.Of[begin:end], 0
	x := span(p.x, begin, end)
	exact := p.c.cfg.Centroids(x.Rows)
	if p.whole[g] {
		exact = x.Rows
	}
	switch {
	case p.c.cfg.Bucketing != Cut && x.Rows > 0 && !p.whole[g]:
		w.sort(p.c.hasher, x)
		n = w.bucket(p.c, g, x.Rows, of)
	case exact == x.Rows:
		for i := range of {
			of[i] = int32(i)
		}
		n = exact
	case exact == 1:
		clear(of)
		n = 1
	default:
		w.sort(p.c.hasher, x)
		w.cutter.exactly(exact, p.c.hasher, &w.hashing)
		n = w.number(of)
	}
	if n > 1 && n < x.Rows {
		w.refiner.refine(x, of, n, p.c.cfg.Refine)
	}
	p.clusters.CentroidEnds[g] = n
}

// span returns rows [begin, end) of m, aliasing it.
func span(m blas32.General, begin, end int) blas32.General {
	v := blas32.General{Rows: end - begin, Cols: m.Cols, Stride: m.Stride}
	if begin < end {
		v.Data = m.Data[begin*m.Stride : (end-1)*m.Stride+m.Cols]
	}
	return v
}

// sort hashes the rows of a group and sorts them by their tuples.
func (w *worker) sort(h *Hasher, x blas32.General) {
	h.project(&w.hashing, x)
	resize(&w.hashing.code, h.cfg.Hashes)
	resize(&w.cutter.rows.items, x.Rows)
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

// bucket makes clusters of equal tuples, or of as much of them as the control loop has found: so many leading bits as would have given
// the batch before the rate that was asked for; the first batch, itself.
func (w *worker) bucket(c *Compressor, g, rows int, of []int32) int {
	if c.cfg.Bucketing == Joint {
		w.cutter.leading(float64(c.hasher.bits()), c.hasher)
		return w.number(of)
	}
	depth, now := c.depth[g], w.cutter.suitable(c.cfg.Rate*float64(rows), c.hasher)
	if depth == 0 {
		depth = now
	}
	c.depth[g] = now
	w.cutter.leading(depth, c.hasher)
	return w.number(of)
}
