package router

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Sinkhorn is the router that balances the experts by optimal transport. In training a token
// group's tokens choose from its transport matrix: the matrix e^logit, rows and columns scaled in
// turn until each of the T tokens sends about 1/T and each of the E experts gets about 1/E. In
// evaluation, in which a token must not depend on others, they choose by their logits. The matrix
// has no gradient. Weights are computed from the logits: with K = 1 the sigmoid of the chosen one,
// otherwise the softmax over all experts, never renormalised.
//
// Each iteration reads the matrix once: 2·T·E multiplications in float64; logits of order one take
// about ten of them. Logits that take more than 64, or of which float32 cannot hold the
// exponentials, are scaled by their logarithms, from a high temperature to a low one, until the
// columns' sums are 0.01 % off even on average. All logits end within 220 iterations. If those
// are not enough, with logits some hundred apart and more, rows still sum to 1/T and the columns
// are as even as they have become: 0.4 % off on average with logits of order 50, and 4 % of order
// 1000, where that was measured. Logits of a token that are more than 2²² apart are scaled down to
// that. In training a token's experts depend on later tokens of its group, so a decoder's loss sees
// the future.
//
// (Clark et al. 2022, "S-BASE"; Megatron-Core, whose tolerance, ε and weights these are.)
type Sinkhorn struct {
	// K is the number of experts that each token chooses, from 1 to all.
	K int
	// Scale multiplies all weights; 0 stands for 1.
	Scale float32
	// CapacityFactor, Capacity and Drop are those of [TopK].
	CapacityFactor float64
	Capacity       Capacity
	Drop           Drop
	// Losses lists the auxiliary losses.
	Losses []Loss
}

var _ Router = Sinkhorn{}

// New is described at [Router]. The parameters are those of [TopK].
func (r Sinkhorn) New(s Shape) (Gate, error) {
	return r.topK().build(s, overrides{name: "Sinkhorn", chooser: &transporter{}})
}

// Bound is described at [TopK.Bound].
func (r Sinkhorn) Bound(tokens, experts int, train bool) int {
	return r.topK().Bound(tokens, experts, train)
}

// WeightSum is described at [TopK.WeightSum].
func (r Sinkhorn) WeightSum(experts int) (least, most float64) {
	return r.topK().WeightSum(experts)
}

func (r Sinkhorn) topK() TopK {
	t := TopK{
		K: r.K, Score: SoftmaxBefore, Scale: r.Scale, Losses: r.Losses,
		CapacityFactor: r.CapacityFactor, Capacity: r.Capacity, Drop: r.Drop,
	}
	if r.K == 1 {
		t.Score = Sigmoid
	}
	return t
}

// Transport fills dst with the transport matrix of one token group's logits, tokens × experts both.
// The logits must be finite.
func (Sinkhorn) Transport(dst, logits blas32.General) {
	if logits.Rows == 0 || logits.Cols == 0 {
		return
	}
	var s sinkhorn
	s.solve(logits.Rows, logits.Cols, func(i int) []float32 { return mat.Row(logits, i) })
	for i := range logits.Rows {
		s.transport(mat.Row(dst, i), i)
	}
}

// transporter is the chooser of [Sinkhorn].
type transporter struct {
	sinkhorn
	group *choosing
	rows  func(i int) []float32 // the token group's logits; made once, to allocate nothing
}

func (*transporter) forAll() bool { return false }

func (r *transporter) choose(g *choosing) {
	if !g.Train {
		best{}.choose(g)
		return
	}
	if r.group = g; r.rows == nil {
		r.rows = func(i int) []float32 { return r.group.logits(i) }
	}
	r.solve(g.tokens, g.experts, r.rows)
	for i := range g.tokens {
		r.rank(g.scratch(), i)
		topK(g.choices(i), g.scratch())
	}
	r.group = nil
}

// Constants of Megatron-Core's iteration: it ends when the columns' factors move by less than the
// tolerance on average; the least sum keeps factors finite.
const (
	sinkhornTolerance = 1e-4
	sinkhornLeastSum  = 1e-8
)

// Bounds of the iteration as Megatron-Core has it: on iterations, which logits of order ten reach;
// on the distance of a token's logits, beyond which float32 loses the exponentials; and on the sums
// of columns, below which the least sum counts.
const (
	nearIterations = 64
	nearSpread     = 80
	nearSum        = 100 * sinkhornLeastSum
)

// sinkhorn scales the rows and columns of a matrix. It holds memory that is used again.
type sinkhorn struct {
	kernel     grid      // e^(logit − the row's largest)
	rows, cols []float64 // factors
	sums       []float64 // of the columns
	far        far
	isFar      bool // the matrix is far's
	iterations int  // in all
	logits     func(i int) []float32
}

// solve scales the matrix of the logits. That a row's largest logit is taken off changes nothing,
// because it is a factor of the row, and keeps e^x finite.
func (s *sinkhorn) solve(tokens, experts int, logits func(i int) []float32) {
	s.logits, s.iterations = logits, 0
	spread := 0.0
	for i := range tokens {
		low, high := bounds(logits(i))
		spread = max(spread, float64(high)-float64(low))
	}
	if s.isFar = spread > nearSpread || !s.solveNear(tokens, experts); s.isFar {
		s.iterations += s.far.solve(tokens, experts, spread, logits)
	}
}

// solveNear is Megatron-Core's iteration. It returns false if that does not converge, or not to
// even columns.
func (s *sinkhorn) solveNear(tokens, experts int) bool {
	s.kernel.reset(tokens, experts)
	for i := range tokens {
		expBelowMax(s.kernel.row(i), s.logits(i))
	}
	s.rows, s.cols = mat.Reuse(s.rows, tokens), mat.Reuse(s.cols, experts)
	s.sums = mat.Reuse(s.sums, experts)
	for e := range s.cols {
		s.cols[e] = 1
	}
	for range nearIterations {
		s.iterations++
		s.scaleRows()
		if s.scaleCols() <= sinkhornTolerance {
			return slices.Min(s.sums) >= nearSum
		}
	}
	return false
}

// scaleRows gives each row the sum 1/T, and sums the columns on the way.
func (s *sinkhorn) scaleRows() {
	clear(s.sums)
	share := 1 / float64(len(s.rows))
	for i := range s.rows {
		line, sum := s.kernel.row(i), 0.0
		for e, v := range line {
			sum += float64(s.cols[e] * float64(v))
		}
		factor := share / (sum + sinkhornLeastSum)
		for e, v := range line {
			s.sums[e] += float64(factor * float64(v))
		}
		s.rows[i] = factor
	}
}

// scaleCols gives each column the sum 1/E and returns by how much the factors have moved on
// average.
func (s *sinkhorn) scaleCols() float64 {
	moved, share := 0.0, 1/float64(len(s.cols))
	for e, sum := range s.sums {
		factor := share / (sum + sinkhornLeastSum)
		moved += math.Abs(factor - s.cols[e])
		s.cols[e] = factor
	}
	return moved * share
}

// rank fills dst with numbers in the order of row i of the scaled matrix.
func (s *sinkhorn) rank(dst []float32, i int) {
	if s.isFar {
		s.far.logsOf(dst, s.logits(i))
		return
	}
	s.transport(dst, i)
}

// transport fills dst with row i of the scaled matrix.
func (s *sinkhorn) transport(dst []float32, i int) {
	if s.isFar {
		s.far.transport(dst, s.logits(i))
		return
	}
	for e, v := range s.kernel.row(i) {
		dst[e] = float32(s.cols[e] * float64(v) * s.rows[i])
	}
}

// expBelowMax fills dst with e^(x − the largest of x).
func expBelowMax(dst, x []float32) {
	_, top := bounds(x)
	for e, v := range x {
		dst[e] = v - top
	}
	f32.Exp(dst, dst)
}
