package models

import (
	"fmt"
	"strings"
)

// view says where a matrix lies in a tensor of a file: its element (r, c) is number offset +
// r·row + c·col of the tensor.
type view struct {
	name             string
	shape            []int // of the tensor
	rows, cols       int
	offset, row, col int
}

// span is the range of the tensor's elements in which those of the matrix lie.
func (v view) span() (from, to int) {
	return v.offset, v.offset + (v.rows-1)*v.row + (v.cols-1)*v.col + 1
}

// gather copies the matrix out of the elements of its span.
func (v view) gather(dst, span []float32) {
	for r := range v.rows {
		for c := range v.cols {
			dst[r*v.cols+c] = span[r*v.row+c*v.col]
		}
	}
}

// scatter copies the matrix into all elements of the tensor.
func (v view) scatter(tensor, src []float32) {
	for r := range v.rows {
		for c := range v.cols {
			tensor[v.offset+r*v.row+c*v.col] = src[r*v.cols+c]
		}
	}
}

// of returns where the matrix [inputs, outputs] of expert e of all experts lies.
func (m Matrix) of(prefix string, e, experts, inputs, outputs int) view {
	v := view{name: prefix + m.Name, rows: inputs, cols: outputs}
	width, first, step := outputs, 0, 1 // of all outputs in the tensor, and those of the matrix
	switch m.Part {
	case FirstHalf, SecondHalf:
		width, first = 2*outputs, int(m.Part-FirstHalf)*outputs
	case Even, Odd:
		width, first, step = 2*outputs, int(m.Part-Even), 2
	}
	if v.row, v.col, v.shape = 1, inputs, []int{width, inputs}; m.InputMajor {
		v.row, v.col, v.shape = width, 1, []int{inputs, width}
	}
	v.offset, v.col = first*v.col, step*v.col
	switch {
	case strings.Contains(m.Name, "%d"):
		v.name = prefix + fmt.Sprintf(m.Name, e)
	case m.Flat:
		v.offset += e * inputs * width
		v.shape[0] *= experts
	case experts > 0:
		v.offset += e * inputs * width
		v.shape = append([]int{experts}, v.shape...)
	}
	return v
}

// vector returns where the n numbers of expert e of all experts lie.
func (m Matrix) vector(prefix string, e, experts, n int) view {
	m.InputMajor = true
	v := m.of(prefix, e, experts, 1, n)
	if i := len(v.shape) - 2; !m.Flat {
		v.shape = append(v.shape[:i:i], v.shape[i+1])
	}
	return v
}

// slot is one expert's share of a parameter of a layer, and where it lies on disk.
type slot struct {
	param  string // as in a layer's list of tensors: "gate.gate"
	expert int
	view
}

// gateSlots lists the parameters of the gate.
func (b *Block) gateSlots() []slot {
	m := Matrix{Name: b.Routing.Weight}
	list := []slot{{"gate", 0, m.of(b.Prefix, 0, 0, b.Dim, b.Experts)}}
	if b.Routing.LogitBias != "" {
		bias := Matrix{Name: b.Routing.LogitBias}
		list = append(list, slot{"gate_bias", 0, bias.vector(b.Prefix, 0, 0, b.Experts)})
	}
	return list
}

// slots lists the parameters of expert e of all experts; 0 of all stands for a shared one, whose
// tensors have no dimension for experts.
func (x *Expert) slots(b *Block, e, experts int) []slot {
	list := []slot{
		{"w_gate", e, x.Gate.of(b.Prefix, e, experts, b.Dim, x.Hidden)},
		{"w_up", e, x.Up.of(b.Prefix, e, experts, b.Dim, x.Hidden)},
		{"w_down", e, x.Down.of(b.Prefix, e, experts, x.Hidden, b.Dim)},
	}
	if x.DownBias.Name != "" {
		list = append(list, slot{"b_gate", e, x.GateBias.vector(b.Prefix, e, experts, x.Hidden)},
			slot{"b_up", e, x.UpBias.vector(b.Prefix, e, experts, x.Hidden)},
			slot{"b_down", e, x.DownBias.vector(b.Prefix, e, experts, b.Dim)})
	}
	if x.OutputGate.Name != "" {
		list = append(list, slot{"w_out", e, x.OutputGate.of(b.Prefix, e, experts, b.Dim, 1)})
	}
	return list
}

// each calls do for all parameters of the block, with their names in a layer's list, until it
// returns an error.
func (b *Block) each(do func(slot) error) error {
	part := func(name string, slots []slot) error {
		for _, s := range slots {
			s.param = name + s.param
			if err := do(s); err != nil {
				return err
			}
		}
		return nil
	}
	if err := part("gate.", b.gateSlots()); err != nil {
		return err
	}
	for e := range b.Experts {
		if err := part("expert.", b.Expert.slots(b, e, b.Experts)); err != nil {
			return err
		}
	}
	if b.Shared == nil {
		return nil
	}
	return part("shared.", b.Shared.slots(b, 0, 0))
}
