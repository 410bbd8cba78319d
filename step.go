package switchyard

import (
	"context"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/param"
)

// gradients holds what backward passes since the last Step add up to, over all ranks that share the
// parameters.
type gradients struct {
	gate, shared, gains total
	experts             []total // of each group of experts
	passes              int
}

// total is the gradient of one set of parameters, and room for that of the next pass.
type total struct{ sum, next []float32 }

// Step sums the gradients of shared parameters over the ranks that share them — those of the gate
// and of the shared expert over all, and so those of learned gains; an expert's over its copies —
// gives them to the optimiser, and forgets them. Then a gate that balances its load by a bias moves
// it by the load of all ranks since the last step. At least one Backward must have gone before. An
// optimiser that cannot take a step ([expert.Validator]), or has other settings than on another
// rank, fails the step on every rank, with the parameters as they were; it can then be repeated
// with one that can. A step to which other tokens came than router.Batch.StepTokens announced fails
// so too, and its passes are dropped.
func (l *Layer) Step(ctx context.Context, optimizer expert.Optimizer) error {
	if err := l.guard.EnterAll(ctx, "Step"); err != nil {
		return err
	}
	defer l.guard.LeaveAll()
	if err := l.guard.CheckStep("Step"); err != nil {
		return err
	}
	return l.guard.Attempt("Step", func() error { return l.step(ctx, optimizer) })
}

func (l *Layer) step(ctx context.Context, optimizer expert.Optimizer) error {
	if err := l.ready(ctx, optimizer); err != nil {
		return err
	}
	if err := l.reduceAll(ctx); err != nil {
		return err
	}
	if gate := l.gate.Params(); gate != nil {
		optimizer.Update(gate, l.gateGradient())
	}
	for i, set := range l.experts.Params() {
		if set != nil {
			optimizer.Update(set, l.grads.experts[i].sum)
		}
	}
	if shared := l.shared.Params(); shared != nil {
		optimizer.Update(shared, l.grads.shared.sum)
	}
	if gains := l.compression.Gains(); gains != nil {
		optimizer.Update(gains, l.grads.gains.sum)
	}
	l.grads.passes = 0
	l.guard.StepDone()
	micro := make([]*routing.Stage, len(l.twins))
	for i, t := range l.twins {
		micro[i] = t.routing
	}
	if err := l.routing.UpdateBias(ctx, micro); err != nil {
		return err
	}
	for _, t := range l.twins {
		parameters.CopyGate(t.gate, l.gate)
	}
	for _, t := range append([]*Layer{l}, l.twins...) {
		t.steps++
		t.losses.begin()
		if t.tuner != nil {
			if err := t.tuner.stepped(ctx, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// reduce completes the pending backward pass: it sums its gradients over ranks and adds them to
// those of the passes before.
func (l *Layer) reduce(ctx context.Context) error {
	p := l.pending
	if p == nil {
		return nil
	}
	l.pending = nil
	if err := l.reduceGate(ctx, p); err != nil {
		return errtext.Errorf("switchyard: gradients of the gate: %w", err)
	}
	perCopy := make([]int, l.layout.copies)
	for r, n := range p.Global.Leaves {
		perCopy[r/l.layout.parallel] += n
	}
	for i, set := range l.experts.Params() {
		if err := l.sumOver(ctx, l.replicas, perCopy, set, &l.grads.experts[i]); err != nil {
			return errtext.Errorf("switchyard: gradients of the experts: %w", err)
		}
	}
	if err := l.sumOver(ctx, l.everyone, p.Global.Leaves, l.shared.Params(), &l.grads.shared); err != nil {
		return errtext.Errorf("switchyard: gradients of the shared expert: %w", err)
	}
	if err := l.sumOver(ctx, l.everyone, p.Global.Leaves, l.compression.Gains(), &l.grads.gains); err != nil {
		return errtext.Errorf("switchyard: gradients of the gains: %w", err)
	}
	l.grads.passes++
	return nil
}

// sumOver adds set's gradient, summed over the ranks of comm that hold leaves each, to what earlier
// passes gave.
func (l *Layer) sumOver(ctx context.Context, comm *collective.Comm, leaves []int, set *param.Set, t *total) error {
	if set == nil {
		return nil
	}
	if err := takeSums(ctx, comm, leaves, []*param.Set{set}, []*total{t}); err != nil {
		return err
	}
	t.add(l.grads.passes == 0)
	return nil
}

// dropGradients forgets what the pass under way has entered into the sums of gradients.
func (l *Layer) dropGradients() {
	for _, set := range l.experts.Params() {
		if set != nil {
			set.Grad.Reset()
		}
	}
	if set := l.shared.Params(); set != nil {
		set.Grad.Reset()
	}
	if set := l.compression.Gains(); set != nil {
		set.Grad.Reset()
	}
}
