package switchyard

import (
	"context"
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/param"
	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/router"
)

// Tensor is one tensor of a layer, whole: an expert tensor's first dimension counts the experts of all ranks.
type Tensor struct {
	// Name is "gate.", "expert." or "shared." followed by the router's or expert's own name for it; "compression.gain",
	// the learned gain of each expert; or "balance.bias", the
	// bias by which a gate evens its load, which is not trained.
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

// Parameters returns all the layer's parameters, on every rank, in an order that does not depend on the number of ranks.
// What has no gradient stands last. Every rank must call it.
func (l *Layer) Parameters(ctx context.Context) ([]Tensor, error) {
	if err := l.enterAll(ctx, "Parameters"); err != nil {
		return nil, err
	}
	defer l.leaveAll()
	var list []Tensor
	if err := l.attempt("Parameters", func() (err error) {
		list, err = l.tensors(ctx, valuesOf(l.gate.Params()), l.expertValues(), valuesOf(l.shared.Params()), valuesOf(l.compression.Gains()))
		return err
	}); err != nil {
		return nil, err
	}
	if bias := l.bias(); bias != nil {
		list = append(list, Tensor{Name: biasName, Shape: []int{len(bias)}, Data: slices.Clone(bias)})
	}
	return list, nil
}

// expertValues returns the parameters of each shard of the experts.
func (l *Layer) expertValues() (list [][]float32) {
	for _, set := range l.experts.Params() {
		list = append(list, valuesOf(set))
	}
	return list
}

// expertGradients returns their gradients.
func (l *Layer) expertGradients() (list [][]float32) {
	for i := range l.grads.experts {
		list = append(list, l.grads.experts[i].sum)
	}
	return list
}

func valuesOf(set *param.Set) []float32 {
	if set == nil {
		return nil
	}
	return set.Value
}

// bias is the gate's bias, where it evens its load by one. It aliases the gate's.
func (l *Layer) bias() []float32 {
	if g, ok := l.gate.(router.Balancer); ok {
		return g.Bias()
	}
	return nil
}

// Gradients returns, on every rank, the gradients that the next Step would use, in the order of Parameters, of all that
// has any. Every rank must call it, after at least one Backward.
func (l *Layer) Gradients(ctx context.Context) ([]Tensor, error) {
	if err := l.enterAll(ctx, "Gradients"); err != nil {
		return nil, err
	}
	defer l.leaveAll()
	if err := l.mayStep("Gradients"); err != nil {
		return nil, err
	}
	var list []Tensor
	err := l.attempt("Gradients", func() (err error) {
		if err = l.reduceAll(ctx); err != nil {
			return err
		}
		list, err = l.tensors(ctx, l.gateGradient(), l.expertGradients(), l.grads.shared.sum, l.grads.gains.sum)
		return err
	})
	return list, err
}

// Load sets the layer's parameters on this rank from whole tensors, as Parameters returns them. Tensors that are
// not named keep their values. Nothing is changed if a name or a shape is wrong.
func (l *Layer) Load(tensors []Tensor) error {
	if err := l.enterAll(context.Background(), "Load"); err != nil {
		return err
	}
	defer l.leaveAll()
	if err := l.noneWaits("Load"); err != nil {
		return err
	}
	var targets, sources [][]float32
	for _, t := range tensors {
		parts, shape, offset := l.target(t.Name)
		if parts == nil {
			return fmt.Errorf("switchyard: Load: the layer has no tensor %q", t.Name)
		}
		if n := (param.Tensor{Shape: t.Shape}).Len(); !slices.Equal(t.Shape, shape) || len(t.Data) != n {
			return fmt.Errorf("switchyard: Load: tensor %q has shape %v and %d elements, want %v", t.Name, t.Shape, len(t.Data), shape)
		}
		for _, part := range parts {
			targets, sources = append(targets, part), append(sources, t.Data[offset:offset+len(part)])
			offset += len(part)
		}
	}
	for i := range targets {
		copy(targets[i], sources[i])
	}
	for _, t := range l.twins {
		l.inform(t)
	}
	return nil
}

// target finds this rank's part of the named tensor, in the pieces in which it lies, the whole tensor's shape, and where the part
// begins in it.
func (l *Layer) target(name string) (parts [][]float32, whole []int, offset int) {
	if bias := l.bias(); name == biasName && bias != nil {
		return [][]float32{bias}, []int{len(bias)}, 0
	}
	for prefix, set := range map[string]*param.Set{gatePrefix: l.gate.Params(), sharedPrefix: l.shared.Params(), gainPrefix: l.compression.Gains()} {
		if part, shape := named(set, prefix, name); part != nil {
			return [][]float32{part}, shape, 0
		}
	}
	if set := l.experts.Params()[0]; set != nil {
		for i, t := range set.Tensors() {
			if expertPrefix+t.Name == name {
				for _, set := range l.experts.Params() {
					parts = append(parts, set.Of(set.Value, i))
				}
				first, _ := l.layout.place.Of(l.layout.seat)
				whole := append([]int{l.cfg.Experts}, t.Shape[1:]...)
				return parts, whole, first * (param.Tensor{Shape: t.Shape[1:]}).Len()
			}
		}
	}
	return nil, nil, 0
}

// named finds the tensor of a set that every rank holds whole.
func named(set *param.Set, prefix, name string) (part []float32, shape []int) {
	if set == nil {
		return nil, nil
	}
	for i, t := range set.Tensors() {
		if prefix+t.Name == name {
			return set.Of(set.Value, i), t.Shape
		}
	}
	return nil, nil
}

// appendWhole appends the tensors of a set that every rank holds whole, vec being laid out as its values.
func appendWhole(list []Tensor, prefix string, set *param.Set, vec []float32) []Tensor {
	if set == nil {
		return list
	}
	for i, t := range set.Tensors() {
		list = append(list, Tensor{Name: prefix + t.Name, Shape: slices.Clone(t.Shape), Data: slices.Clone(set.Of(vec, i))})
	}
	return list
}

// tensors cuts flat vectors laid out as the parameters of the gate, the experts, the shared expert and the gains into whole tensors.
func (l *Layer) tensors(ctx context.Context, gate []float32, experts [][]float32, shared, gains []float32) ([]Tensor, error) {
	list := appendWhole(nil, gatePrefix, l.gate.Params(), gate)
	if set := l.experts.Params()[0]; set != nil {
		for i, t := range set.Tensors() {
			var part []float32
			for s, set := range l.experts.Params() {
				part = append(part, set.Of(experts[s], i)...)
			}
			data, err := l.collect(ctx, part, (param.Tensor{Shape: t.Shape[1:]}).Len())
			if err != nil {
				return nil, errtext.Errorf("switchyard: tensor %s%s: %w", expertPrefix, t.Name, err)
			}
			list = append(list, Tensor{Name: expertPrefix + t.Name, Shape: append([]int{l.cfg.Experts}, t.Shape[1:]...), Data: data})
		}
	}
	list = appendWhole(list, sharedPrefix, l.shared.Params(), shared)
	return appendWhole(list, gainPrefix, l.compression.Gains(), gains), nil
}

// collect puts the parts of one copy of the experts together. each is the elements of one expert.
func (l *Layer) collect(ctx context.Context, part []float32, each int) ([]float32, error) {
	whole := make([]float32, l.cfg.Experts*each)
	parts := make([][]byte, l.layout.parallel)
	for r := range parts {
		begin, end := l.layout.place.Of(r)
		parts[r] = view.Bytes(whole[begin*each : end*each])
	}
	copy(parts[l.layout.seat], view.Bytes(part))
	return whole, l.copies.AllGatherV(ctx, parts)
}
