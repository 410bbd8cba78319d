package param

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// Tensor names one tensor of a [Set].
type Tensor struct {
	// Name is the tensor's name, unique within its set, as in "w_up".
	Name string
	// Shape gives the dimensions, slowest first. The elements are stored row-major.
	Shape []int
}

// Len returns the number of the tensor's elements.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Set is a list of tensors that are stored, summed over ranks and updated together. It belongs to
// the gate or the expert that made it and is not safe for concurrent use. Its address stays the
// same for the life of the gate or expert, so an optimizer may keep its state by it.
type Set struct {
	// Kind is the part of a layer that the set belongs to. The layer sets it when it is built.
	Kind Kind
	// Value holds the elements of all tensors, one tensor after the other, row-major. An optimizer
	// writes into it. A program may also replace the slice by another one of the same length, so
	// read it from the set at each call.
	Value []float32
	// Grad collects the gradient. A backward pass writes the gradient of token group i of the
	// global batch, laid out as Value, into Grad.Leaf(i), each leaf once between two resets, and
	// also those of empty groups. The layer sums the leaves over ranks and resets Grad in its Step.
	Grad *tree.Sum
	// Frozen tells whether the values stay as they are in training. The layer sets it, while no pass
	// is between forward and backward. A backward pass then enters no leaf and takes no memory for
	// one; all else that it returns has the same bits. No optimizer is given the set.
	Frozen bool

	tensors []Tensor
	offsets []int
}

// Check returns an error if a dimension is negative, or if a set of the tensors would have more
// elements than the library supports. The error names the value and the limit.
func Check(tensors ...Tensor) error {
	shapes := make([][]int, len(tensors))
	for i, t := range tensors {
		shapes[i] = t.Shape
	}
	return check.Elements(shapes...)
}

// NewSet makes a set of zeroed tensors. It keeps the list of tensors, which must not change
// afterwards. It panics if [Check] returns an error.
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

// Of returns the elements of tensor i in vec, a vector laid out as Value: Value itself, a leaf's
// gradient, or a moment of an optimizer. The result shares the memory of vec. It panics if vec has
// another length than Value.
func (s *Set) Of(vec []float32, i int) []float32 {
	if len(vec) != len(s.Value) {
		panic(fmt.Sprintf("param: vector of %d elements for a set of %d", len(vec), len(s.Value)))
	}
	return vec[s.offsets[i]:s.offsets[i+1]:s.offsets[i+1]]
}

// Matrix returns tensor i of vec, as [Set.Of] does, as a matrix whose columns are the tensor's last
// dimension and whose rows are all others. It shares the memory of vec.
func (s *Set) Matrix(vec []float32, i int) blas32.General {
	data, shape := s.Of(vec, i), s.tensors[i].Shape
	cols := shape[len(shape)-1]
	return blas32.General{Rows: len(data) / max(cols, 1), Cols: cols, Stride: max(cols, 1), Data: data}
}

// Slice returns matrix j of tensor i of vec, which has the shape [matrices, rows, columns]: the
// weights of expert j, for example. It shares the memory of vec.
func (s *Set) Slice(vec []float32, i, j int) blas32.General {
	shape := s.tensors[i].Shape
	rows, cols := shape[1], shape[2]
	data := s.Of(vec, i)[j*rows*cols : (j+1)*rows*cols : (j+1)*rows*cols]
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: data}
}
