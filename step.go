package switchyard

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/param"
)

// gradients holds what backward passes since the last Step add up to, over all ranks that share the parameters.
type gradients struct {
	gate, experts []float32
	passes        int
}

// Step sums the gradients of shared parameters over the ranks that share them — the gate's over all, an
// expert's over its copies — gives them to the optimiser, and forgets them. At least one Backward must have
// gone before.
func (l *Layer) Step(ctx context.Context, optimizer expert.Optimizer) error {
	if err := l.reduce(ctx); err != nil {
		return err
	}
	if l.grads.passes == 0 {
		panic("switchyard: Step without a Backward")
	}
	if gate := l.gate.Params(); gate != nil {
		optimizer.Update(gate, l.grads.gate)
	}
	if experts := l.experts.Params(); experts != nil {
		optimizer.Update(experts, l.grads.experts)
	}
	l.grads.passes = 0
	return nil
}

// reduce completes the pending backward pass: it sums its gradients over ranks and adds them to those of the
// passes before.
func (l *Layer) reduce(ctx context.Context) error {
	p := l.pending
	if p == nil {
		return nil
	}
	l.pending = nil
	gate, err := l.sumOver(ctx, l.everyone, p.batch.leaves, l.gate.Params(), l.grads.gate)
	if err != nil {
		return fmt.Errorf("switchyard: gradients of the gate: %w", err)
	}
	perCopy := make([]int, l.layout.copies)
	for r, n := range p.batch.leaves {
		perCopy[r/l.layout.parallel] += n
	}
	experts, err := l.sumOver(ctx, l.replicas, perCopy, l.experts.Params(), l.grads.experts)
	if err != nil {
		return fmt.Errorf("switchyard: gradients of the experts: %w", err)
	}
	l.grads = gradients{gate: gate, experts: experts, passes: l.grads.passes + 1}
	return nil
}

// sumOver adds set's gradient, summed over the ranks of comm that hold leaves each, to total, and returns it.
func (l *Layer) sumOver(ctx context.Context, comm *collective.Comm, leaves []int, set *param.Set, total []float32) ([]float32, error) {
	if set == nil {
		return nil, nil
	}
	sum, n := make([]float32, len(set.Value)), len(set.Value)
	if err := comm.AllReduceTree(ctx, leaves, [][]float32{sum}, set.Grad); err != nil {
		return nil, err
	}
	set.Grad.Reset()
	if l.grads.passes == 0 || len(total) != n {
		return sum, nil
	}
	for i, g := range sum {
		total[i] += g
	}
	return total, nil
}
