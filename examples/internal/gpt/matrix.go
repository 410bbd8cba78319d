package gpt

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// matrix is a dense matrix that keeps its storage when it is asked for another number of rows, so
// that a training loop allocates in its first step only.
type matrix struct{ blas32.General }

// resize makes the matrix rows × cols. Its content is undefined afterwards.
func (m *matrix) resize(rows, cols int) {
	if n := rows * cols; cap(m.Data) < n {
		m.Data = make([]float32, n)
	} else {
		m.Data = m.Data[:n]
	}
	m.Rows, m.Cols, m.Stride = rows, cols, cols
}

// rows returns rows [begin, end) of m, aliasing it.
func rows(m blas32.General, begin, end int) blas32.General {
	if begin == end { // m.Data may end before row begin would start
		return blas32.General{Cols: m.Cols, Stride: m.Stride}
	}
	return blas32.General{
		Rows: end - begin, Cols: m.Cols, Stride: m.Stride,
		Data: m.Data[begin*m.Stride : (end-1)*m.Stride+m.Cols],
	}
}

// cols returns columns [begin, end) of m, aliasing it.
func cols(m blas32.General, begin, end int) blas32.General {
	if m.Rows == 0 {
		return blas32.General{Cols: end - begin, Stride: m.Stride}
	}
	return blas32.General{
		Rows: m.Rows, Cols: end - begin, Stride: m.Stride,
		Data: m.Data[begin : (m.Rows-1)*m.Stride+end],
	}
}

// row returns row i of m, aliasing it.
func row(m blas32.General, i int) []float32 {
	return m.Data[i*m.Stride : i*m.Stride+m.Cols]
}

// addTo adds m to sum, of the same shape, element by element.
func addTo(sum, m blas32.General) {
	for i := range m.Rows {
		f32.Add(row(sum, i), row(m, i))
	}
}

// copyTo copies m to dst, of the same shape.
func copyTo(dst, m blas32.General) {
	for i := range m.Rows {
		copy(row(dst, i), row(m, i))
	}
}
