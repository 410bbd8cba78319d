package switchyard

import (
	"context"
	"slices"
)

// Tensor is one tensor of a layer, whole: the first dimension of an expert tensor counts the
// experts of all ranks.
type Tensor struct {
	// Name is "gate.", "expert." or "shared." followed by the router's or expert's own name for it;
	// "compression.gain", the learned gain of each expert; or "balance.bias", the bias by which a
	// gate evens its load, which is not trained.
	Name string
	// Shape gives the dimensions, slowest first.
	Shape []int
	// Data holds the elements, row-major.
	Data []float32
}

const (
	gatePrefix   = "gate."
	expertPrefix = "expert."
	sharedPrefix = "shared."
	gainPrefix   = "compression."
	biasName     = "balance.bias"
)

// Parameters returns all the layer's parameters, on every rank, in an order that does not depend on
// the number of ranks. What has no gradient stands last. Every rank must call it.
func (l *Layer) Parameters(ctx context.Context) ([]Tensor, error) {
	if err := l.guard.EnterAll(ctx, "Parameters"); err != nil {
		return nil, err
	}
	defer l.guard.LeaveAll()
	var list []Tensor
	err := l.guard.Attempt("Parameters", func() (err error) {
		t := l.table()
		list, err = t.whole(ctx, t.values())
		if t.bias != nil {
			list = append(list, Tensor{Name: biasName, Shape: []int{len(t.bias)}, Data: slices.Clone(t.bias)})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Gradients returns, on every rank, the gradients that the next Step would use, in the order of
// Parameters, of all that has any. Every rank must call it, after at least one Backward.
func (l *Layer) Gradients(ctx context.Context) ([]Tensor, error) {
	if err := l.guard.EnterAll(ctx, "Gradients"); err != nil {
		return nil, err
	}
	defer l.guard.LeaveAll()
	if err := l.guard.CheckStep("Gradients"); err != nil {
		return nil, err
	}
	var list []Tensor
	err := l.guard.Attempt("Gradients", func() (err error) {
		if err = l.reduceAll(ctx); err != nil {
			return err
		}
		sums := vectors{gate: l.gateGradient(), shared: l.grads.shared.sum, gains: l.grads.gains.sum}
		for i := range l.grads.experts {
			sums.experts = append(sums.experts, l.grads.experts[i].sum)
		}
		list, err = l.table().whole(ctx, sums)
		return err
	})
	return list, err
}

// Load sets the layer's parameters on this rank from whole tensors, as Parameters returns them.
// Tensors that are not named keep their values. Nothing is changed if a name or a shape is wrong.
func (l *Layer) Load(tensors []Tensor) error {
	if err := l.guard.EnterAll(context.Background(), "Load"); err != nil {
		return err
	}
	defer l.guard.LeaveAll()
	if err := l.guard.CheckNoneWaits("Load"); err != nil {
		return err
	}
	if err := l.table().load(tensors); err != nil {
		return err
	}
	for _, t := range l.twins {
		l.inform(t)
	}
	return nil
}

// table lists the parameters that this rank holds.
func (l *Layer) table() *parameterTable {
	return &parameterTable{
		gate: l.gate.Params(), experts: l.experts.Params(), shared: l.shared.Params(),
		gains: l.compression.Gains(), bias: biasOf(l.gate), all: l.cfg.Experts,
		placement: l.layout.place, rank: l.layout.seat, comm: l.copies,
	}
}
