package switchyard

import (
	"cmp"
	"context"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/param"
)

// Tensor is one tensor of a layer, whole: the first dimension of an expert tensor counts the
// experts of all ranks.
type Tensor struct {
	// Name is "gate.", "expert." or "shared." followed by the router's or expert's own name for it;
	// "compression.gain", the learned gain of each expert; or "balance.bias", the bias by which a
	// gate evens its load, which is not trained.
	Name string
	// Kind is the part of the layer that the tensor belongs to. Load does not read it.
	Kind param.Kind
	// Shape gives the dimensions, slowest first.
	Shape []int
	// Data holds the elements, row-major.
	Data []float32
}

// Parameters returns all the layer's parameters, on every rank, in an order that does not depend on
// the number of ranks. What has no gradient stands last. Every rank must call it. It holds a tensor
// of all experts in memory, and sends each rank's part in one message, which transports bound: for
// large models see [Layer.State].
func (l *Layer) Parameters(ctx context.Context) ([]Tensor, error) {
	if err := l.guard.EnterAll(ctx, "Parameters"); err != nil {
		return nil, err
	}
	defer l.guard.Leave()
	var list []parameters.Tensor
	err := l.guard.Attempt("Parameters", func() (err error) {
		list, err = l.table.Parameters(ctx)
		return err
	})
	return converted[Tensor](list), err
}

// Gradients returns, on every rank, the gradients that the next Step would use, in the order of
// Parameters, of all that has any and is not frozen. Every rank must call it, after at least one
// Backward.
func (l *Layer) Gradients(ctx context.Context) ([]Tensor, error) {
	if err := l.guard.EnterAll(ctx, "Gradients"); err != nil {
		return nil, err
	}
	defer l.guard.Leave()
	if err := l.guard.CheckStep("Gradients"); err != nil {
		return nil, err
	}
	var list []parameters.Tensor
	err := l.guard.Attempt("Gradients", func() (err error) {
		if err = l.stages.Gradients.ReduceAll(ctx); err != nil {
			return err
		}
		list, err = l.table.Gradients(ctx, l.stages.Gradients.Sums())
		return err
	})
	return converted[Tensor](list), err
}

// Load sets the layer's parameters on this rank from whole tensors, as Parameters returns them.
// Tensors that are not named keep their values. All that is wrong is reported at once, and then
// nothing is changed: a name that the layer has not, or that comes twice, a wrong shape, a number
// that is not finite. Optimizer and counters stay: to go on with a job, and for tensors that are
// too large to be whole on a rank, see [Layer.State].
func (l *Layer) Load(tensors []Tensor) error {
	if err := l.guard.EnterAll(context.Background(), "Load"); err != nil {
		return err
	}
	defer l.guard.Leave()
	if err := l.guard.CheckNoneWaits("Load"); err != nil {
		return err
	}
	if err := l.table.Load(converted[parameters.Tensor](tensors)); err != nil {
		return l.guard.Misuse("Load", "%w", err)
	}
	l.stages.Balance.Changed()
	return nil
}

// converted returns the same tensors as values of the other type. They share their data.
func converted[To, From Tensor | parameters.Tensor](list []From) (to []To) {
	for _, t := range list {
		to = append(to, To(t))
	}
	return to
}

// Step sums the gradients of shared parameters over the ranks that share them — those of the gate
// and of the shared expert over all, and so those of learned gains; an expert's over its copies —
// gives them to the optimizer, and forgets them. Then a gate that balances its load by a bias moves
// it by the load of all ranks since the last step. At least one Backward must have gone before. An
// optimizer that cannot take a step ([expert.Validator]), or has other settings than on another
// rank, fails the step on every rank, with the parameters as they were; it can then be repeated
// with one that can. A step to which other tokens came than router.Batch.StepTokens announced fails
// so too, and its passes are dropped.
func (l *Layer) Step(ctx context.Context, optimizer expert.Optimizer) error {
	if err := l.guard.EnterAll(ctx, "Step"); err != nil {
		return err
	}
	defer l.guard.Leave()
	if err := l.guard.CheckStep("Step"); err != nil {
		return err
	}
	return l.guard.Attempt("Step", func() error { return l.step(ctx, optimizer) })
}

func (l *Layer) step(ctx context.Context, optimizer expert.Optimizer) error {
	dropped, err := l.stages.Gradients.Ready(ctx, optimizer)
	if dropped {
		err = cmp.Or(l.dropStep(ctx), err)
	}
	if err != nil {
		return err
	}
	if err := l.stages.Gradients.Step(ctx, optimizer); err != nil {
		return err
	}
	l.guard.StepDone()
	if err := l.stages.UpdateBias(ctx); err != nil {
		return err
	}
	return l.stages.EndStep(ctx)
}
