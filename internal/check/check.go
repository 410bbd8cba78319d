// Package check validates what callers pass: matrices, sizes, and values of interfaces.
package check

import (
	"fmt"
	"math"
	"reflect"

	"gonum.org/v1/gonum/blas/blas32"
)

// Matrix returns what is wrong with m, which is to have cols columns, or nil. The caller puts it
// behind the matrix's name: "x has %w". Of a matrix without rows only that is checked.
func Matrix(m blas32.General, cols int) error {
	if m.Rows > 0 && m.Cols != cols {
		return fmt.Errorf("%d rows of %d columns, want %d columns", m.Rows, m.Cols, cols)
	}
	return AnyMatrix(m)
}

// AnyMatrix is Matrix for any number of columns from 1.
func AnyMatrix(m blas32.General) error {
	switch {
	case m.Rows < 0:
		return fmt.Errorf("%d rows, want 0 or more", m.Rows)
	case m.Rows == 0:
		return nil
	case m.Cols < 1:
		return fmt.Errorf("%d rows of %d columns, want 1 column or more", m.Rows, m.Cols)
	case m.Stride < m.Cols:
		return fmt.Errorf("%d rows of %d columns with stride %d, want a stride of %d or more", m.Rows, m.Cols, m.Stride, m.Cols)
	case len(m.Data) < m.Cols || m.Rows-1 > (len(m.Data)-m.Cols)/m.Stride: // a product may overflow
		return fmt.Errorf("%d rows of %d columns with stride %d, but %d elements, which are too few", m.Rows, m.Cols, m.Stride, len(m.Data))
	}
	return nil
}

// MaxSize is the largest size that is accepted: the width of a row, a number of experts or of
// hidden units. It is far above that of any model, so that a mistake is an error instead of an
// attempt to allocate the memory.
const MaxSize = 1 << 24

// Size returns an error unless a size is from low to MaxSize. The caller puts it behind the name of
// the size: "Dim is %w".
func Size(v, low int) error {
	switch {
	case v < low:
		return fmt.Errorf("%d, must be at least %d", v, low)
	case v > MaxSize:
		return fmt.Errorf("%d, must be at most %d", v, MaxSize)
	}
	return nil
}

// MaxElements is the largest number of elements that one rank may hold of one layer's parameters of
// a kind: 64 GiB of float32, or the largest int.
const MaxElements = min(1<<34, math.MaxInt)

// Elements returns an error if tensors of these shapes have more than MaxElements in total.
func Elements(shapes ...[]int) error {
	total := 0
	for _, shape := range shapes {
		n := 1
		for _, d := range shape {
			if d < 0 {
				return fmt.Errorf("a tensor of shape %v has a negative size", shape)
			}
			if d > 0 && n > MaxElements/d {
				return fmt.Errorf("a tensor of shape %v has more than %d elements, the most that a rank holds", shape, MaxElements)
			}
			n *= d
		}
		if n > MaxElements-total {
			return fmt.Errorf("tensors of shapes %v have more than %d elements, the most that a rank holds", shapes, MaxElements)
		}
		total += n
	}
	return nil
}

// Nil reports whether v is nil, or an interface that holds a nil pointer, function or map.
func Nil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map:
		return r.IsNil()
	}
	return false
}
