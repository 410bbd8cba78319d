package switchyard

import (
	"context"
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// parameterTable is the parameters that a rank holds, by name, and how the ranks of a copy of the
// experts put theirs together.
type parameterTable struct {
	gate, shared, gains *param.Set   // held whole by every rank; nil if there are none
	experts             []*param.Set // of each group of the experts hosted here
	bias                []float32    // of the gate, if it evens its load by one; it aliases the gate's

	all       int                // number of experts
	placement alltoall.Placement // of the experts on the ranks of a copy
	rank      int                // of the copy
	comm      *collective.Comm   // over the ranks of the copy
}

// vectors are laid out as the values of each set of parameters.
type vectors struct {
	gate, shared, gains []float32
	experts             [][]float32
}

// values returns the parameters, whose memory they share.
func (t *parameterTable) values() vectors {
	v := vectors{gate: valuesOf(t.gate), shared: valuesOf(t.shared), gains: valuesOf(t.gains)}
	for _, set := range t.experts {
		v.experts = append(v.experts, valuesOf(set))
	}
	return v
}

func valuesOf(set *param.Set) []float32 {
	if set == nil {
		return nil
	}
	return set.Value
}

// biasOf is the gate's bias, if it evens its load by one. It aliases the gate's.
func biasOf(gate router.Gate) []float32 {
	if g, ok := gate.(router.Balancer); ok {
		return g.Bias()
	}
	return nil
}

// whole cuts vectors into whole tensors: those of experts of all ranks of the copy.
func (t *parameterTable) whole(ctx context.Context, v vectors) ([]Tensor, error) {
	list := appendWhole(nil, gatePrefix, t.gate, v.gate)
	if set := t.experts[0]; set != nil { // the others have the same tensors
		for i, tensor := range set.Tensors() {
			var part []float32
			for g, set := range t.experts {
				part = append(part, set.Of(v.experts[g], i)...)
			}
			data, err := t.collect(ctx, part, (param.Tensor{Shape: tensor.Shape[1:]}).Len())
			if err != nil {
				return nil, errtext.Errorf("switchyard: tensor %s%s: %w", expertPrefix, tensor.Name, err)
			}
			list = append(list, Tensor{Name: expertPrefix + tensor.Name, Shape: t.shape(tensor), Data: data})
		}
	}
	list = appendWhole(list, sharedPrefix, t.shared, v.shared)
	return appendWhole(list, gainPrefix, t.gains, v.gains), nil
}

// shape is that of a tensor over all experts.
func (t *parameterTable) shape(tensor param.Tensor) []int {
	return append([]int{t.all}, tensor.Shape[1:]...)
}

// appendWhole appends the tensors of a set that every rank holds whole, vec being laid out as its
// values.
func appendWhole(list []Tensor, prefix string, set *param.Set, vec []float32) []Tensor {
	if set == nil {
		return list
	}
	for i, t := range set.Tensors() {
		list = append(list, Tensor{Name: prefix + t.Name, Shape: slices.Clone(t.Shape), Data: slices.Clone(set.Of(vec, i))})
	}
	return list
}

// collect puts the parts of the ranks of a copy together. each is the elements of one expert.
func (t *parameterTable) collect(ctx context.Context, part []float32, each int) ([]float32, error) {
	whole := make([]float32, t.all*each)
	parts := make([][]byte, t.placement.Ranks())
	for r := range parts {
		begin, end := t.placement.Of(r)
		parts[r] = view.Bytes(whole[begin*each : end*each])
	}
	copy(parts[t.rank], view.Bytes(part))
	return whole, t.comm.AllGatherV(ctx, parts)
}

// load sets parameters from whole tensors. Nothing is changed if a name or a shape is wrong.
func (t *parameterTable) load(tensors []Tensor) error {
	var targets, sources [][]float32
	for _, from := range tensors {
		parts, shape, offset := t.find(from.Name)
		if parts == nil {
			return fmt.Errorf("switchyard: Load: the layer has no tensor %q", from.Name)
		}
		if n := (param.Tensor{Shape: from.Shape}).Len(); !slices.Equal(from.Shape, shape) || len(from.Data) != n {
			return fmt.Errorf("switchyard: Load: tensor %q has shape %v and %d elements, want %v",
				from.Name, from.Shape, len(from.Data), shape)
		}
		for _, part := range parts {
			targets, sources = append(targets, part), append(sources, from.Data[offset:offset+len(part)])
			offset += len(part)
		}
	}
	for i := range targets {
		copy(targets[i], sources[i])
	}
	return nil
}

// find returns this rank's part of the named tensor, in the pieces in which it lies, the whole
// tensor's shape, and where the part begins in it.
func (t *parameterTable) find(name string) (parts [][]float32, whole []int, offset int) {
	if name == biasName && t.bias != nil {
		return [][]float32{t.bias}, []int{len(t.bias)}, 0
	}
	for prefix, set := range map[string]*param.Set{gatePrefix: t.gate, sharedPrefix: t.shared, gainPrefix: t.gains} {
		if part, shape := named(set, prefix, name); part != nil {
			return [][]float32{part}, shape, 0
		}
	}
	if t.experts[0] == nil {
		return nil, nil, 0
	}
	for i, tensor := range t.experts[0].Tensors() {
		if expertPrefix+tensor.Name == name {
			for _, set := range t.experts {
				parts = append(parts, set.Of(set.Value, i))
			}
			first, _ := t.placement.Of(t.rank)
			return parts, t.shape(tensor), first * (param.Tensor{Shape: tensor.Shape[1:]}).Len()
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
