// Package param holds trainable parameters: the values of several tensors in one flat vector, and
// their gradient as a sum over a fixed tree of groups of tokens, so that it has the same bits on
// any number of ranks.
package param

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// Tensor names one tensor of a [Set] and gives its shape, slowest dimension first.
type Tensor struct {
	Name  string
	Shape []int
}

// Len is the number of the tensor's elements.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Set is a group of tensors that are stored, summed over ranks and updated together.
type Set struct {
	// Value is all tensors, one after the other, row-major.
	Value []float32
	// Grad collects the gradient: a backward pass writes leaf i's share, laid out as Value, into
	// Grad.Leaf(i). A leaf is a group of tokens of the global batch. The optimiser's step resets
	// it.
	Grad *tree.Sum

	tensors []Tensor
	offsets []int
}

// Check returns an error if a set of such tensors would be too large. See [check.Elements].
func Check(tensors ...Tensor) error {
	shapes := make([][]int, len(tensors))
	for i, t := range tensors {
		shapes[i] = t.Shape
	}
	return check.Elements(shapes...)
}

// NewSet makes a set of zeroed tensors. It panics where Check returns an error.
func NewSet(tensors ...Tensor) *Set {
	if err := Check(tensors...); err != nil {
		panic("param: " + err.Error())
	}
	s := &Set{tensors: tensors, offsets: make([]int, len(tensors)+1)}
	for i, t := range tensors {
		s.offsets[i+1] = s.offsets[i] + t.Len()
	}
	n := s.offsets[len(tensors)]
	s.Value, s.Grad = make([]float32, n), tree.NewSum(n)
	return s
}

// Tensors lists the set's tensors in order. The caller must not change the slice.
func (s *Set) Tensors() []Tensor { return s.tensors }

// Of returns the part of vec that is tensor i, where vec is laid out as Value: Value itself, a
// leaf's gradient, an optimiser's moment. The result aliases vec.
func (s *Set) Of(vec []float32, i int) []float32 {
	if len(vec) != len(s.Value) {
		panic(fmt.Sprintf("param: vector of %d elements for a set of %d", len(vec), len(s.Value)))
	}
	return vec[s.offsets[i]:s.offsets[i+1]:s.offsets[i+1]]
}

// Matrix returns tensor i of vec as a matrix whose columns are the tensor's last dimension. It
// aliases vec.
func (s *Set) Matrix(vec []float32, i int) blas32.General {
	data, shape := s.Of(vec, i), s.tensors[i].Shape
	cols := shape[len(shape)-1]
	return blas32.General{Rows: len(data) / max(cols, 1), Cols: cols, Stride: max(cols, 1), Data: data}
}

// Slice returns the j-th matrix of the three-dimensional tensor i of vec. It aliases vec.
func (s *Set) Slice(vec []float32, i, j int) blas32.General {
	shape := s.tensors[i].Shape
	rows, cols := shape[1], shape[2]
	data := s.Of(vec, i)[j*rows*cols : (j+1)*rows*cols : (j+1)*rows*cols]
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: data}
}
