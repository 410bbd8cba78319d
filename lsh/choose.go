package lsh

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f64"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Where Config.Bandwidth or Ridge is 0, it is chosen for each block of centroids, when their
// answers are known: that with which the answers of some centroids are best found from those of the
// others (leave-one-out). So a coarse format of answers gets a larger ridge, which takes away
// noise. The band is the kernel's squared width over the mean squared distance of centroids from
// their mean. If the answers of the nearest centroids are nearer still, rows get those of their own
// centroids.
//
// On rows of the byte model of examples/train, in groups of 256 to 4096, errors are 0.61 to 1.03
// times those of Bandwidth 20 and Ridge 0.003; and 0.62 to 0.99 times where answers are off by a
// tenth, as in four bits.

// shape is a kernel and its ridge.
type shape struct {
	band, ridge float32
	own         bool // nothing is drawn: rows get the answers of their own centroids
}

// These are taken unless others are better.
const usualBand, usualRidge = 4, 0.003

// With few centroids, errors of two shapes differ by chance: one must be better by 1 + chance / n.
const chance = 4

const (
	trialNodes   = 96 // the most centroids that the choice uses: its work grows with their cube
	trialColumns = 16 // of the sums that stand for their answers

	// Answers lose rounded / ridge of their size, as a kernel matrix and its inverse are float32.
	rounded = 1e-7
)

// trial is the memory of a choice.
type trial struct {
	near            blas32.General // squared distances
	answers, copied []float64      // columns × centroids
	square          float64        // of all answers
}

// load takes the first n centroids of a block. Each column sums some columns of their answers, with
// signs as if drawn, so that all count; and is measured from its mean.
func (t *trial) load(p *Pass, b *block, n int) {
	t.near = blas32.General{Rows: n, Cols: n, Stride: b.near.Stride, Data: b.near.Data}
	columns := min(trialColumns, p.c.dim)
	t.answers = mat.Reuse(t.answers, columns*n)
	clear(t.answers)
	t.square = 0
	for k := range n {
		for j, v := range mat.Row(p.from, b.first+k) {
			if uniform(uint64(j)) < 0.5 {
				v = -v
			}
			t.answers[j%columns*n+k] += float64(v)
		}
	}
	for begin := 0; begin < len(t.answers); begin += n {
		column, mean := t.answers[begin:begin+n], 0.0
		for _, v := range column {
			mean += v / float64(n)
		}
		for k := range column {
			column[k] -= mean
		}
		t.square += f64.Dot(column, column)
	}
}

// nearest returns the sums over centroids of the squared differences of answers from those of the
// nearest other centroid, and of the squared distances from it.
func (t *trial) nearest() (sum, distance float64) {
	n := t.near.Rows
	for k := range n {
		at, least := k, float32(math.Inf(1))
		for j, d := range mat.Row(t.near, k) {
			if j != k && d < least {
				at, least = j, d
			}
		}
		distance += float64(least)
		for begin := 0; begin < len(t.answers); begin += n {
			e := t.answers[begin+k] - t.answers[begin+at]
			sum += float64(e * e)
		}
	}
	return sum, distance
}

// choose returns the shape for a block that is not flat.
func (t *interpolant) choose(p *Pass, b *block) shape {
	usual := shape{band: usualBand, ridge: usualRidge}
	if p.c.cfg.Bandwidth > 0 {
		usual.band = 1
	}
	if p.c.cfg.Ridge > 0 {
		usual.ridge = p.c.cfg.Ridge
	}
	if p.c.cfg.Bandwidth > 0 && p.c.cfg.Ridge > 0 || b.end-b.first < 2 {
		return usual
	}
	return t.try(p, b, usual)
}

// faults are sums of squared errors of a shape over the centroids of a trial.
type faults struct {
	left float64 // of what is found from the others
	kept float64 // of what is found from all
}

// wrong returns the errors of a shape.
func (t *interpolant) wrong(b *block, s shape) (e faults) {
	n := t.trial.near.Rows
	between := t.between.Matrix(n, n)
	kernel(between, t.trial.near, b.width(s.band))
	t.trial.copied = append(t.trial.copied[:0], t.trial.answers...)
	e.left, e.kept = t.spd.leftOut(between, s.ridge, t.trial.copied)
	rounding := float64(rounded/s.ridge) * float64(rounded/s.ridge) * t.trial.square
	return faults{left: e.left + rounding, kept: e.kept + rounding}
}

// try compares shapes on some centroids of a block: bands first, then ridges at the best band.
func (t *interpolant) try(p *Pass, b *block, usual shape) shape {
	n := min(b.end-b.first, trialNodes)
	t.trial.load(p, b, n)
	margin := 1 + chance/float64(n)
	first := t.wrong(b, usual)
	best, least := usual, first
	better := func(s shape) bool {
		e := t.wrong(b, s)
		if !(e.left < least.left && e.left*margin < first.left) {
			return false
		}
		best, least = s, e
		return true
	}
	if p.c.cfg.Bandwidth == 0 {
		walk([]float32{1, 2, usualBand, 16}, 2, func(band float32) bool { return better(shape{band: band, ridge: usual.ridge}) })
	}
	if p.c.cfg.Ridge == 0 {
		band := best.band
		walk([]float32{0.03, usualRidge, 0.0003, 0.0001}, 1, func(ridge float32) bool { return better(shape{band: band, ridge: ridge}) })
	}
	if t.trial.refuses(least, float64(b.apart), margin) {
		return shape{own: true}
	}
	return best
}

// walk tries the values beside the one at, one after the other to the side that is better.
func walk(values []float32, at int, better func(float32) bool) {
	down := at - 1
	for down >= 0 && better(values[down]) {
		down--
	}
	if down < at-1 {
		return
	}
	for up := at + 1; up < len(values) && better(values[up]); up++ {
	}
}

// refuses tells whether rows are expected to be nearer to the answers of their own centroids.
// Errors are known where a row is at its centroid, and where it is as far away as the nearest other
// one; between them they grow with the squared distance.
func (t *trial) refuses(e faults, apart, margin float64) bool {
	n := float64(t.near.Rows)
	none, distance := t.nearest()
	if !(distance > 0) {
		return false
	}
	far := min(apart/(distance/n), 1)
	// What is left out is in the mean that it is measured from: that takes 1/n of the error away.
	e.left *= n / (n - 1) * (n / (n - 1))
	near := (1 - far) * (1 - far)
	return far*none*margin < float64(near*near*e.kept)+float64(far*e.left)
}
