package switchyard

import (
	"context"
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/param"
	"github.com/switchyard-moe/switchyard/internal/view"
)

// Tensor is one tensor of a layer, whole: an expert tensor's first dimension counts the experts of all ranks.
type Tensor struct {
	// Name is "gate." or "expert." followed by the router's or expert's own name for it.
	Name string
	// Shape gives the dimensions, slowest first.
	Shape []int
	// Data holds the elements, row-major.
	Data []float32
}

const (
	gatePrefix   = "gate."
	expertPrefix = "expert."
)

// Parameters returns all the layer's parameters, on every rank, in an order that does not depend on the number of ranks.
// Every rank must call it.
func (l *Layer) Parameters(ctx context.Context) ([]Tensor, error) {
	var gate, experts []float32
	if set := l.gate.Params(); set != nil {
		gate = set.Value
	}
	if set := l.experts.Params(); set != nil {
		experts = set.Value
	}
	return l.tensors(ctx, gate, experts)
}

// Gradients returns, on every rank, the gradients that the next Step would use, in the order of Parameters. Every
// rank must call it, after at least one Backward.
func (l *Layer) Gradients(ctx context.Context) ([]Tensor, error) {
	if err := l.reduce(ctx); err != nil {
		return nil, err
	}
	if l.grads.passes == 0 {
		panic("switchyard: Gradients without a Backward")
	}
	return l.tensors(ctx, l.grads.gate.sum, l.grads.experts.sum)
}

// Load sets the layer's parameters on this rank from whole tensors, as Parameters returns them. Tensors that are
// not named keep their values. Nothing is changed if a name or a shape is wrong.
func (l *Layer) Load(tensors []Tensor) error {
	targets := make([][]float32, len(tensors))
	sources := make([][]float32, len(tensors))
	for i, t := range tensors {
		target, shape, offset := l.target(t.Name)
		if target == nil {
			return fmt.Errorf("switchyard: Load: the layer has no tensor %q", t.Name)
		}
		if n := (param.Tensor{Shape: t.Shape}).Len(); !slices.Equal(t.Shape, shape) || len(t.Data) != n {
			return fmt.Errorf("switchyard: Load: tensor %q has shape %v and %d elements, want %v", t.Name, t.Shape, len(t.Data), shape)
		}
		targets[i], sources[i] = target, t.Data[offset:offset+len(target)]
	}
	for i := range targets {
		copy(targets[i], sources[i])
	}
	return nil
}

// target finds this rank's part of the named tensor, the whole tensor's shape, and where the part begins in it.
func (l *Layer) target(name string) (part []float32, whole []int, offset int) {
	if set := l.gate.Params(); set != nil {
		for i, t := range set.Tensors() {
			if gatePrefix+t.Name == name {
				return set.Of(set.Value, i), t.Shape, 0
			}
		}
	}
	if set := l.experts.Params(); set != nil {
		for i, t := range set.Tensors() {
			if expertPrefix+t.Name == name {
				first, _ := l.layout.place.Of(l.layout.seat)
				whole := append([]int{l.cfg.Experts}, t.Shape[1:]...)
				return set.Of(set.Value, i), whole, first * (param.Tensor{Shape: t.Shape[1:]}).Len()
			}
		}
	}
	return nil, nil, 0
}

// tensors cuts flat vectors laid out as the gate's and the experts' parameters into whole tensors.
func (l *Layer) tensors(ctx context.Context, gate, experts []float32) ([]Tensor, error) {
	var list []Tensor
	if set := l.gate.Params(); set != nil {
		for i, t := range set.Tensors() {
			list = append(list, Tensor{Name: gatePrefix + t.Name, Shape: slices.Clone(t.Shape), Data: slices.Clone(set.Of(gate, i))})
		}
	}
	if set := l.experts.Params(); set != nil {
		for i, t := range set.Tensors() {
			data, err := l.collect(ctx, set.Of(experts, i), (param.Tensor{Shape: t.Shape[1:]}).Len())
			if err != nil {
				return nil, fmt.Errorf("switchyard: tensor %s%s: %w", expertPrefix, t.Name, err)
			}
			list = append(list, Tensor{Name: expertPrefix + t.Name, Shape: append([]int{l.cfg.Experts}, t.Shape[1:]...), Data: data})
		}
	}
	return list, nil
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
