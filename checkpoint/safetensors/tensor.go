package safetensors

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/printable"
)

// ErrInvalid is what errors wrap that say that a file, or an index, is not valid: it will not be
// after another try.
var ErrInvalid = errors.New("invalid file")

// Tensor describes one tensor of a file.
type Tensor struct {
	// Name is unique in its file. It is UTF-8 and may be empty.
	Name string
	// DType is the type of the elements.
	DType DType
	// Shape gives the dimensions, slowest first. A scalar has none, and a tensor with a dimension of
	// 0 has no bytes.
	Shape []int
	// Offset is the place of its first byte in the file. [NewPlan] computes it.
	Offset int64
	// Bytes is the number of its bytes. [NewPlan] computes it.
	Bytes int64
}

// shown is a tensor's name as errors have it.
func shown(name string) string { return `"` + printable.Text(name, 200) + `"` }

// shownShape is a shape as errors have it: its first dimensions.
func shownShape(shape []int) string {
	if len(shape) <= 8 {
		return fmt.Sprint(shape)
	}
	return fmt.Sprintf("%v and %d more", shape[:8], len(shape)-8)
}

// sizeOf returns the bytes of a tensor. As in the reference implementation, the product may
// overflow although a later dimension is 0.
func sizeOf(name string, d DType, shape []int) (uint64, error) {
	size := uint64(1)
	for _, n := range shape {
		if n < 0 {
			return 0, fmt.Errorf("tensor %s has a dimension of %d", shown(name), n)
		}
		var over uint64
		if over, size = bits.Mul64(size, uint64(n)); over != 0 {
			return 0, fmt.Errorf("tensor %s: its number of elements overflows 64 bits", shown(name))
		}
	}
	over, size := bits.Mul64(size, uint64(d.Bits()))
	switch {
	case over != 0:
		return 0, fmt.Errorf("tensor %s: its number of bits overflows 64 bits", shown(name))
	case size%8 != 0:
		return 0, fmt.Errorf("tensor %s of %v ends within a byte, after %d bits", shown(name), d, size)
	}
	return size / 8, nil
}

// table holds the tensors of a file.
type table struct {
	tensors []Tensor // by place
	byName  []int32  // their numbers, sorted by name
}

// newTable takes tensors sorted by place. It fails if two have the same name.
func newTable(tensors []Tensor) (table, error) {
	if len(tensors) > math.MaxInt32 {
		return table{}, fmt.Errorf("%d tensors; the limit is %d", len(tensors), math.MaxInt32)
	}
	t := table{tensors: tensors, byName: make([]int32, len(tensors))}
	for i := range t.byName {
		t.byName[i] = int32(i)
	}
	slices.SortFunc(t.byName, func(a, b int32) int { return cmp.Compare(tensors[a].Name, tensors[b].Name) })
	for i := 1; i < len(t.byName); i++ {
		if name := tensors[t.byName[i]].Name; name == tensors[t.byName[i-1]].Name {
			return table{}, fmt.Errorf("two tensors have the name %s", shown(name))
		}
	}
	return t, nil
}

// find returns the number of the tensor called name.
func (t *table) find(name string) (int, bool) {
	i, ok := slices.BinarySearchFunc(t.byName, name, func(i int32, name string) int {
		return cmp.Compare(t.tensors[i].Name, name)
	})
	if !ok {
		return 0, false
	}
	return int(t.byName[i]), true
}
