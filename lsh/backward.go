package lsh

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/centroid"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// The gradients hold clusters and weights constant. For a cluster of N rows, G is the sum of the
// gradients dy of its rows' answers, and J is the gradient of its centroid, which the expert
// returns for the gradient that was sent.
//
//	Identity, Gain   G is sent; dx = g·dy + (J − g·G)/N, with g = 1 for Identity
//	None             G is sent; dx = J/N
//	Interpolate      row k of Wᵀ·dy is sent, with the weights W; dx = J/N

// RestoreBackward takes the loss's gradient with respect to the answers of the rows and returns the
// one with respect to the answers of the centroids, which belongs to the pass. dy must stay as it
// is until CompressBackward returns.
func (p *Pass) RestoreBackward(dy blas32.General) (dAnswers blas32.General) {
	p.advance(restored, restoredBackward, "RestoreBackward")
	checkShape(dy, p.x.Rows, p.c.dim, "gradients of rows' answers")
	p.dy = dy
	p.dAnswers = p.gathered.Matrix(p.centroids.Rows, p.c.dim)
	if p.c.cfg.Compensation == Interpolate {
		p.c.each(p, (*worker).unblend)
		return p.dAnswers
	}
	p.c.each(p, (*worker).gather)
	if p.c.cfg.Compensation.Learned() {
		p.gainGrads = mat.Reuse(p.gainGrads, len(p.c.gains))
		clear(p.gainGrads)
		p.c.each(p, (*worker).gainGrad)
	}
	return p.dAnswers
}

// gather sums the gradients of each cluster's rows, in ascending order.
func (*worker) gather(p *Pass, g int) {
	_, _, k, end := p.clusters.Group(g)
	for ; k < end; k++ {
		centroid.Sum(mat.Row(p.dAnswers, k), p.dy.Data, p.dy.Stride, p.members(k), 1)
	}
}

// gainGrad computes the gradient of a row group's factors: the sum of dy·(x − c), over its rows in
// order, and over columns if they share a factor.
func (w *worker) gainGrad(p *Pass, g int) {
	w.residual = mat.Reuse(w.residual, p.c.dim)
	sum := 0.0
	begin, end, _, _ := p.clusters.Group(g)
	for i := begin; i < end; i++ {
		k := int(p.clusters.Of[i])
		if len(p.members(k)) == 1 {
			continue
		}
		centroid.Residual(w.residual, 1, mat.Row(p.x, i), mat.Row(p.centroids, k))
		if p.c.cfg.Compensation == LearnedChannels {
			grads := p.gainGrads[g*p.c.dim:][:p.c.dim]
			for j, d := range mat.Row(p.dy, i) {
				grads[j] += float32(w.residual[j] * d)
			}
			continue
		}
		sum += float64(f32.Dot(w.residual, mat.Row(p.dy, i)))
	}
	if p.c.cfg.Compensation == LearnedGain {
		p.gainGrads[g] = float32(sum)
	}
	if n := p.c.cfg.Compensation.gainsOf(p.c.dim); !f32.Finite(p.gainGrads[g*n : (g+1)*n]) {
		p.wideGainGrad(g, p.gainGrads[g*n:(g+1)*n])
	}
}

// wideGainGrad is gainGrad in float64, for float32 sums that overflow in both directions to NaN.
func (p *Pass) wideGainGrad(g int, grads []float32) {
	all := 0.0
	begin, end, _, _ := p.clusters.Group(g)
	for j := range p.c.dim {
		sum := 0.0
		for i := begin; i < end; i++ {
			if k := int(p.clusters.Of[i]); len(p.members(k)) > 1 {
				residual := float64(mat.Row(p.x, i)[j]) - float64(mat.Row(p.centroids, k)[j])
				sum += float64(residual * float64(mat.Row(p.dy, i)[j]))
			}
		}
		if p.c.cfg.Compensation == LearnedChannels {
			grads[j] = float32(sum)
		}
		all += sum
	}
	if p.c.cfg.Compensation == LearnedGain {
		grads[0] = float32(all)
	}
}

// GainGrads returns the gradient of each of [Compressor.Gains] after RestoreBackward, if they are
// learned. It belongs to the pass.
func (p *Pass) GainGrads() []float32 {
	if p.stage < restoredBackward || !p.c.cfg.Compensation.Learned() {
		panic("lsh: GainGrads without a gradient of gains")
	}
	return p.gainGrads
}

// CompressBackward takes the loss's gradient with respect to the centroids and sets dx to the one
// with respect to the rows. dx may be the matrix that RestoreBackward got; it must not overlap
// dCentroids.
func (p *Pass) CompressBackward(dx, dCentroids blas32.General) {
	p.advance(restoredBackward, compressedBackward, "CompressBackward")
	checkShape(dx, p.x.Rows, p.c.dim, "gradients of rows")
	checkShape(dCentroids, p.centroids.Rows, p.c.dim, "gradients of centroids")
	switch p.c.cfg.Compensation {
	case None, Interpolate:
		p.from, p.to = dCentroids, dx
		p.c.each(p, (*worker).share)
	default:
		p.shift(dx, p.dy, p.dAnswers, dCentroids, true)
	}
}

// share gives each row of a row group its share of its centroid's gradient.
func (w *worker) share(p *Pass, g int) {
	_, _, k, end := p.clusters.Group(g)
	for ; k < end; k++ {
		m := p.members(k)
		mine := mat.Row(p.to, int(m[0]))
		copy(mine, mat.Row(p.from, k))
		f32.Scale(mine, 1/float32(len(m)))
		for _, i := range m[1:] {
			copy(mat.Row(p.to, int(i)), mine)
		}
	}
}
