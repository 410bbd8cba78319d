package lsh

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/centroid"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Restore sets dst to the answers of the rows, computed from the answers of their centroids as
// Config.Compensation says. dst may be the rows' own matrix only if nothing but Release follows; it
// must not overlap answers.
func (p *Pass) Restore(dst, answers blas32.General) {
	p.advance(compressed, compressed, "Restore")
	checkShape(dst, p.x.Rows, p.c.dim, "answers of rows")
	checkShape(answers, p.centroids.Rows, p.c.dim, "answers of centroids")
	p.Prepare()
	p.stage = restored
	p.from, p.to = answers, dst
	switch p.c.cfg.Compensation {
	case Interpolate:
		p.c.each(p, (*worker).blend)
	case None:
		p.c.each(p, (*worker).toMembers)
	default:
		p.snapshot()
		p.shift(dst, p.x, p.centroids, answers, false)
	}
}

// snapshot keeps the row groups' factors as they are now.
func (p *Pass) snapshot() {
	p.gains = mat.Reuse(p.gains, len(p.c.gains))
	for g := range p.gains {
		switch p.c.cfg.Compensation {
		case Identity:
			p.gains[g] = 1
		case Gain:
			p.gains[g] = p.c.cfg.Gain
		default:
			p.gains[g] = p.c.gains[g]
		}
	}
}

// toMembers copies each cluster's row of p.from to all its members.
func (*worker) toMembers(p *Pass, g int) {
	_, _, k, end := p.clusters.Group(g)
	for ; k < end; k++ {
		for _, i := range p.members(k) {
			copy(mat.Row(p.to, int(i)), mat.Row(p.from, k))
		}
	}
}

// shift sets the rows of dst to g·src, less their cluster's offset g·own − back, which mean divides
// by the rows of the cluster; g is the row group's factor. A row that is alone gets its row of
// back.
func (p *Pass) shift(dst, src, own, back blas32.General, mean bool) {
	p.to, p.of, p.own, p.from, p.mean = dst, src, own, back, mean
	p.off = p.offsets.Matrix(own.Rows, own.Cols)
	p.c.each(p, (*worker).shift)
}

func (w *worker) shift(p *Pass, g int) {
	_, _, k, end := p.clusters.Group(g)
	residual := func(dst, x, b []float32) { centroid.Residual(dst, p.gains[g], x, b) }
	if n := p.c.cfg.Compensation.gainsOf(p.c.dim); p.c.cfg.Compensation == LearnedChannels {
		gains := p.gains[g*n:][:n]
		residual = func(dst, x, b []float32) { columnResidual(dst, gains, x, b) }
	}
	for ; k < end; k++ {
		m := p.members(k)
		if len(m) == 1 {
			copy(mat.Row(p.to, int(m[0])), mat.Row(p.from, k))
			continue
		}
		off := mat.Row(p.off, k)
		residual(off, mat.Row(p.own, k), mat.Row(p.from, k))
		if p.mean {
			f32.Scale(off, 1/float32(len(m)))
		}
		if !f32.Finite(off) {
			p.shiftWide(g, k)
			continue
		}
		for _, i := range m {
			residual(mat.Row(p.to, int(i)), mat.Row(p.of, int(i)), off)
		}
	}
}

// shiftWide is shift of the rows of cluster k in float64, if the offset overflows float32.
func (p *Pass) shiftWide(g, k int) {
	m, gains := p.members(k), p.gains[g*p.c.cfg.Compensation.gainsOf(p.c.dim):]
	size := 1.0
	if p.mean {
		size = float64(len(m))
	}
	for j := range p.c.dim {
		gain := float64(gains[0])
		if p.c.cfg.Compensation == LearnedChannels {
			gain = float64(gains[j])
		}
		off := (float64(gain*float64(mat.Row(p.own, k)[j])) - float64(mat.Row(p.from, k)[j])) / size
		for _, i := range m {
			mat.Row(p.to, int(i))[j] = float32(float64(gain*float64(mat.Row(p.of, int(i))[j])) - off)
		}
	}
}

// columnResidual is centroid.Residual with a factor for each column.
func columnResidual(dst, a, x, b []float32) {
	for i, v := range x {
		dst[i] = float32(a[i]*v) - b[i]
	}
}
