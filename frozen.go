package switchyard

import (
	"context"

	"github.com/switchyard-moe/switchyard/param"
)

// SetFrozen freezes the parameters of the given kinds, and thaws those of all others: without kinds
// all are trained. Every rank calls it, with the same kinds, between two steps. A kind of which the
// layer has nothing is no error. A checkpoint does not keep what is frozen: the program says it
// again after it has built the layer.
//
// A frozen set keeps its values. It has no gradient: none is computed by the gates and experts of
// this module, kept in memory, sent, counted in [GradNorm] or listed by Gradients; and no optimizer
// is given it, so that what one keeps for it stays too. The gradient of the tokens is the same.
//
// [param.Gate] does not freeze the bias by which a gate balances its load, since that is no
// parameter but follows the load, as a buffer of a frozen module in PyTorch may; [param.Bias] does.
func (l *Layer) SetFrozen(ctx context.Context, kinds ...param.Kind) error {
	const op = "SetFrozen"
	if err := l.guard.EnterAll(ctx, op); err != nil {
		return err
	}
	defer l.guard.Leave()
	if err := l.guard.CheckBoundary(op); err != nil {
		return err
	}
	for _, k := range kinds {
		if k < param.Gate || k > param.Bias {
			return l.guard.Misuse(op, "a layer has no parameters of kind %v, want %v to %v", k, param.Gate, param.Bias)
		}
	}
	return l.guard.Attempt(op, func() error { return l.stages.Gradients.SetFrozen(ctx, kinds) })
}
