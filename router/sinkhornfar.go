package router

import (
	"math"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// far balances logits that lie far apart. It works on logarithms: row i of the matrix is the
// softmax of (logit + price)/τ, and an iteration raises the price of an expert by τ·ln(1/E over
// what it gets), which is Sinkhorn's scaling of a column after that of the rows. Alone that takes
// as many iterations as logits lie apart. So τ begins where they lie 8 apart and falls to 1 by
// quarters, and each temperature begins with the prices of the one before. (Scaling of ε: Schmitzer
// 2019, "Stabilized Sparse Scaling Algorithms for Entropy Regularized Transport Problems".)
type far struct {
	tau, share float64
	prices     []float64 // of each expert
	sums       []float64 // what each gets, in all 1
	line       []float32
}

const (
	hotSpread = 8 // of logits over τ, to begin with
	// farSpread bounds the spread of logits over the last τ, at what float32 can tell apart: beyond
	// it τ does not reach 1.
	farSpread       = 1 << 22
	stageIterations = 12
	stageTolerance  = 0.05 // mean deviation of column sums from even, below which the next τ begins
	lastIterations  = 100
	lastTolerance   = 1e-4 // and to end
)

// solve finds the prices and returns how many iterations that took: at most 11 stages and the last.
func (f *far) solve(tokens, experts int, spread float64, logits func(i int) []float32) (iterations int) {
	f.prices, f.sums = mat.Reuse(f.prices, experts), mat.Reuse(f.sums, experts)
	f.line, f.share = mat.Reuse(f.line, experts), 1/float64(tokens)
	clear(f.prices)
	last := max(1, spread/farSpread)
	for f.tau = max(spread/hotSpread, last); ; f.tau = max(f.tau/4, last) {
		most, tolerance := stageIterations, stageTolerance
		if f.tau == last {
			most, tolerance = lastIterations, lastTolerance
		}
		for n, off := 0, math.Inf(1); n < most && off > tolerance; n++ {
			off = f.iterate(tokens, logits)
			iterations++
		}
		if f.tau == last {
			return iterations
		}
	}
}

// iterate scales rows, then columns, and returns by how much the sums of the columns were off their
// mean, on average.
func (f *far) iterate(tokens int, logits func(i int) []float32) (off float64) {
	clear(f.sums)
	for i := range tokens {
		inv := f.share / f.exps(f.line, logits(i))
		for e, v := range f.line {
			f.sums[e] += float64(float64(v) * inv)
		}
	}
	experts := float64(len(f.sums))
	for e, sum := range f.sums {
		const least = 1e-30 // of an expert that no token is near: it comes nearer in the next iterations
		off += math.Abs(sum*experts-1) / experts
		f.prices[e] -= f.tau * ln(max(sum, least)*experts)
	}
	return off
}

// logsOf fills dst with the logarithms of a token's row of the matrix, up to what they share: the
// largest is 0.
func (f *far) logsOf(dst, logits []float32) {
	top := math.Inf(-1)
	for e, v := range logits {
		top = max(top, float64(v)+f.prices[e])
	}
	for e, v := range logits {
		dst[e] = float32((float64(v) + f.prices[e] - top) / f.tau)
	}
}

// exps fills dst with a token's row up to a factor, and returns its sum.
func (f *far) exps(dst, logits []float32) float64 {
	f.logsOf(dst, logits)
	f32.Exp(dst, dst)
	return sum(dst)
}

// transport fills dst with a token's row of the matrix.
func (f *far) transport(dst, logits []float32) {
	inv := f.share / f.exps(dst, logits)
	for e, v := range dst {
		dst[e] = float32(float64(v) * inv)
	}
}
