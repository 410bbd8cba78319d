package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/param"
)

// tensor is an entry of a state under its name in the files.
type tensor struct {
	name  string
	role  param.Role
	shape []int
	dtype safetensors.DType
	data  []byte // the memory of the owner, or its copy
}

// tensorsOf returns all entries of the parts, and of each whether this rank writes it. The error
// lists every entry that cannot be.
func tensorsOf(parts []Part) (list []tensor, writer []bool, err error) {
	var faults faultList
	total := 0
	for _, p := range parts {
		if p.State != nil {
			total += len(p.State.Entries)
		}
	}
	seen := make(map[string]bool, total)
	list, writer = make([]tensor, 0, total), make([]bool, 0, total)
	for i, p := range parts {
		if p.State == nil {
			faults.add("part %d (%.200q) has no State", i, p.Name)
			continue
		}
		for _, e := range p.State.Entries {
			t, fault := tensorOf(p.fullName(e), e)
			if fault == nil && seen[t.name] {
				fault = errors.New("is there twice")
			}
			if fault != nil {
				faults.add("entry %.200q %v", p.fullName(e), fault)
				continue
			}
			seen[t.name] = true
			list, writer = append(list, t), append(writer, e.Writer)
		}
	}
	return list, writer, faults.err("the state cannot be saved or loaded")
}

func tensorOf(name string, e param.Entry) (tensor, error) {
	dtype, data, width, err := bytesOf(e.Data)
	if err != nil {
		return tensor{}, err
	}
	if e.Role != param.Parameter && e.Role != param.Training {
		return tensor{}, fmt.Errorf("has %d as its role", int(e.Role))
	}
	n, err := elements(e.Shape)
	if err != nil {
		return tensor{}, err
	}
	if n*width != len(data) {
		return tensor{}, fmt.Errorf("has %d elements, and the shape %v", len(data)/width, e.Shape)
	}
	return tensor{name, e.Role, e.Shape, dtype, data}, checkName(name)
}

// bytesOf returns the type of the elements in the files, their memory, and the bytes of one.
func bytesOf(data any) (dtype safetensors.DType, bytes []byte, width int, err error) {
	switch d := data.(type) {
	case []float32:
		return safetensors.F32, view.Bytes(d), 4, nil
	case []float64:
		return safetensors.F64, view.Bytes(d), 8, nil
	case []int64:
		return safetensors.I64, view.Bytes(d), 8, nil
	case []byte:
		return safetensors.U8, d, 1, nil
	}
	return 0, nil, 0, fmt.Errorf("has data of type %T, want []float32, []float64, []int64 or []byte", data)
}

// elements is the number of elements of a tensor.
func elements(shape []int) (int, error) {
	n := 1
	for _, d := range shape {
		if d < 0 || d > 0 && n > math.MaxInt/8/d {
			return 0, fmt.Errorf("has the shape %v", shape)
		}
		n *= d
	}
	return n, nil
}

// maxName bounds the name of a tensor.
const maxName = 1 << 12

func checkName(name string) error {
	switch {
	case name == "" || name == "__metadata__":
		return errors.New("has a name that is not allowed")
	case len(name) > maxName:
		return fmt.Errorf("has a name of %d bytes, can have %d", len(name), maxName)
	case !utf8.ValidString(name):
		return errors.New("has a name that is not UTF-8")
	}
	return nil
}
