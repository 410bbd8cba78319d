package parameters

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/param"
)

// mostFaults is how many faults of a Load are listed; the rest are counted.
const mostFaults = 20

// Load sets parameters from whole tensors. Tensors that are not named keep their values. All that
// is wrong is reported at once, and then nothing is changed: a name that the layer has not, or that
// comes twice, a wrong shape, a number that is not finite. Ranks that are given the same tensors
// have the same faults.
func (t *Table) Load(tensors []Tensor) error {
	var targets, sources [][]float32
	var faults []error
	seen := map[string]bool{}
	for _, from := range tensors {
		if seen[from.Name] {
			faults = append(faults, fmt.Errorf("tensor %q comes twice", from.Name))
			continue
		}
		seen[from.Name] = true
		parts, data, offset, err := t.targets(from)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, part := range parts {
			targets = append(targets, part)
			sources = append(sources, data[offset:offset+len(part)])
			offset += len(part)
		}
	}
	if more := len(faults) - mostFaults; more > 0 {
		faults = append(faults[:mostFaults:mostFaults], fmt.Errorf("and %d more faults", more))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	for i := range targets {
		copy(targets[i], sources[i])
	}
	return nil
}

// targets returns where this rank's part of a whole tensor goes, piece by piece, the elements of
// the tensor in the order of positions, and where the part begins in them; or what is wrong with
// the tensor.
func (t *Table) targets(from Tensor) (parts [][]float32, data []float32, offset int, err error) {
	parts, shape, offset := t.find(from.Name)
	if parts == nil {
		return nil, nil, 0, fmt.Errorf("the layer has no tensor %q", from.Name)
	}
	if !slices.Equal(from.Shape, shape) || len(from.Data) != (param.Tensor{Shape: shape}).Len() {
		return nil, nil, 0, fmt.Errorf("tensor %q has shape %v and %d elements, want %v",
			from.Name, from.Shape, len(from.Data), shape)
	}
	if !f32.Finite(from.Data) {
		at := slices.IndexFunc(from.Data, func(v float32) bool { return v-v != 0 })
		return nil, nil, 0, fmt.Errorf("tensor %q has %v at element %d, want finite numbers",
			from.Name, from.Data[at], at)
	}
	if data = from.Data; strings.HasPrefix(from.Name, expertPrefix) {
		data = layout.ByPosition(t.cfg.Order, data)
	}
	return parts, data, offset, nil
}

// find returns this rank's part of the named tensor, in the pieces in which it lies, the whole
// tensor's shape, and where the part begins in it.
func (t *Table) find(name string) (parts [][]float32, whole []int, offset int) {
	if bias := biasOf(t.cfg.Gate); name == biasName && bias != nil {
		return [][]float32{bias}, []int{len(bias)}, 0
	}
	for prefix, set := range map[string]*param.Set{
		gatePrefix: t.cfg.Sets.Gate, sharedPrefix: t.cfg.Sets.Shared, gainPrefix: t.cfg.Sets.Gains,
	} {
		if part, shape := findIn(set, prefix, name); part != nil {
			return [][]float32{part}, shape, 0
		}
	}
	return t.findOfExperts(name)
}

// findOfExperts is find for a tensor of the experts.
func (t *Table) findOfExperts(name string) (parts [][]float32, whole []int, offset int) {
	groups := t.cfg.Sets.Experts
	if groups[0] == nil {
		return nil, nil, 0
	}
	for i, tensor := range groups[0].Tensors() {
		if expertPrefix+tensor.Name != name {
			continue
		}
		for _, set := range groups {
			parts = append(parts, set.Of(set.Value, i))
		}
		first, _ := t.cfg.Placement.Of(t.cfg.Rank)
		return parts, t.shape(tensor), first * sizeOfOne(tensor)
	}
	return nil, nil, 0
}

// findIn finds the tensor of a set that every rank holds whole.
func findIn(set *param.Set, prefix, name string) (part []float32, shape []int) {
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
