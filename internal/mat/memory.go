package mat

import "gonum.org/v1/gonum/blas/blas32"

// Buffer is memory for one matrix at a time. The zero value is ready to use.
type Buffer []float32

// Matrix returns a packed matrix of undefined content. It takes the place, and the memory if that
// has room, of the matrix of the call before.
func (b *Buffer) Matrix(rows, cols int) blas32.General {
	n := rows * cols
	*b = Reuse(*b, n)
	return blas32.General{Rows: rows, Cols: cols, Stride: max(cols, 1), Data: (*b)[:n:n]}
}

// Reuse returns a slice of n elements of undefined content, in the memory of s if that has room.
// New memory is a quarter larger, so that lengths that vary a little do not allocate again.
func Reuse[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
