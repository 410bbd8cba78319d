package expert

import "gonum.org/v1/gonum/blas/blas32"

// buffer is memory that is used again by the next matrix of about its size.
type buffer []float32

// matrix returns a contiguous matrix with undefined contents in the buffer, which it invalidates
// for earlier ones.
func (b *buffer) matrix(rows, cols int) blas32.General {
	n := rows * cols
	if cap(*b) < n {
		*b = make([]float32, n+n/4)
	}
	*b = (*b)[:cap(*b)]
	return blas32.General{Rows: rows, Cols: cols, Stride: max(cols, 1), Data: (*b)[:n:n]}
}

// span returns rows [begin, end) of m, aliasing it.
func span(m blas32.General, begin, end int) blas32.General {
	v := blas32.General{Rows: end - begin, Cols: m.Cols, Stride: m.Stride}
	if begin < end {
		v.Data = m.Data[begin*m.Stride : (end-1)*m.Stride+m.Cols]
	}
	return v
}

// row returns row i of m, aliasing it.
func row(m blas32.General, i int) []float32 { return m.Data[i*m.Stride : i*m.Stride+m.Cols] }

// fill copies v into every row of m.
func fill(m blas32.General, v []float32) {
	for i := range m.Rows {
		copy(row(m, i), v)
	}
}

// copyRows copies src, of the same shape, into dst.
func copyRows(dst, src blas32.General) {
	for i := range src.Rows {
		copy(row(dst, i), row(src, i))
	}
}
