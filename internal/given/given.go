// Package given checks what callers give: matrices, and values of interfaces.
package given

import (
	"fmt"
	"reflect"

	"gonum.org/v1/gonum/blas/blas32"
)

// Matrix returns what is wrong with m where so many columns are wanted, or nil. It is to be put behind the matrix's
// name: "x has %w". Of a matrix without rows nothing else is looked at.
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

// Nil tells whether v is nil, or an interface that holds a nil pointer, function or map.
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
