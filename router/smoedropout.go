package router

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// SMoEDropout is a linear gate, with a bias of each logit, that stays as it was drawn, while the
// number of experts of a token follows a schedule. The experts cannot collapse onto a few, because
// the gate does not learn; with all of them in the end the model can be run with any number.
// Gradients pass through the weights to the tokens, not to the gate. It has no parameters to train
// or to store: Shape.Seed gives it back.
//
// The paper's weights are those of SoftmaxAfter, its schedule is linear from half the experts to
// all, and it has no balance loss. The schedule uses [Batch.Step].
//
// (Chen et al. 2023, SMoE-Dropout.)
type SMoEDropout struct {
	// TopK says what follows the logits. Its K is the number of experts in evaluation, and the most
	// in training; 0 stands for all of them.
	TopK
	// Schedule is the number of experts in training. With To = 0 it is K all the time.
	Schedule Schedule
}

var _ Router = SMoEDropout{}

// New is described at [Router].
func (r SMoEDropout) New(s Shape) (Gate, error) {
	if r.K == 0 {
		r.K = max(s.Experts, 1)
	}
	p := overrides{name: "SMoEDropout"}
	if r.Schedule.To != 0 {
		p.faults = r.Schedule.faults(r.K)
		p.k = func(b *Batch) int {
			if !b.Train {
				return r.K
			}
			return r.Schedule.At(b.Step)
		}
	}
	if len(checkShape(s)) == 0 {
		p.projection = newFrozen(s)
	}
	return r.build(s, p)
}

// Bound is described at [TopK.Bound], for the largest K.
func (r SMoEDropout) Bound(tokens, experts int, train bool) int {
	return r.all(experts).Bound(tokens, experts, train)
}

// WeightSum is described at [TopK.WeightSum], for any number of experts of the schedule.
func (r SMoEDropout) WeightSum(experts int) (least, most float64) {
	all := r.all(experts)
	least, most = all.WeightSum(experts)
	fewest := all
	if r.Schedule.To != 0 {
		fewest.K = min(r.Schedule.From, r.Schedule.To)
	}
	if all.Renormalize.resolve(all.Score.scoring(), all.K) == RenormalizeNever {
		least, _ = fewest.WeightSum(experts)
	}
	return least, most
}

// all returns what follows the logits, with K filled in.
func (r SMoEDropout) all(experts int) TopK {
	if r.K == 0 {
		r.K = experts
	}
	return r.TopK
}

// frozen is a linear projection with a bias that is not trained.
type frozen struct{ set *param.Set }

// newFrozen draws matrix and bias uniformly from ±1/√Dim.
func newFrozen(s Shape) frozen {
	f := frozen{param.NewSet(
		param.Tensor{Name: "gate", Shape: []int{s.Dim, s.Experts}}, param.Tensor{Name: "bias", Shape: []int{s.Experts}},
	)}
	drawUniform(f.set, 0, s.Dim, s.Seed, 0xf502)
	drawUniform(f.set, 1, s.Dim, s.Seed, 0xf503)
	return f
}

func (f frozen) weights() blas32.General { return f.set.Matrix(f.set.Value, 0) }

func (f frozen) params() *param.Set { return nil }

func (f frozen) forward(logits blas32.General, in *input) {
	multiply(logits, in.x, f.weights())
	for t := range logits.Rows {
		line := mat.Row(logits, t)
		for e, b := range f.set.Of(f.set.Value, 1) {
			line[e] += b
		}
	}
}

func (f frozen) backward(dx, dlogits blas32.General, _ *input, _ int) {
	if dx.Rows != 0 {
		gemm.Gemm(blas.NoTrans, blas.Trans, dlogits, f.weights(), 1, dx)
	}
}
