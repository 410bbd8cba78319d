// Package mat has small helpers for gonum's row-major matrices and for memory that is used again.
package mat

import "gonum.org/v1/gonum/blas/blas32"

// Resize returns a packed matrix of undefined content, in m's memory if that has room.
func Resize(m blas32.General, rows, cols int) blas32.General {
	if n := rows * cols; cap(m.Data) < n {
		m.Data = make([]float32, n)
	}
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: m.Data[:rows*cols]}
}

// Zero sets all elements of a packed matrix to zero and returns it.
func Zero(m blas32.General) blas32.General {
	clear(m.Data)
	return m
}

// Row returns row i of m, whose memory it shares.
func Row(m blas32.General, i int) []float32 { return m.Data[i*m.Stride : i*m.Stride+m.Cols] }

// Rows returns rows begin to end of m, whose memory it shares.
func Rows(m blas32.General, begin, end int) blas32.General {
	rows := blas32.General{Rows: end - begin, Cols: m.Cols, Stride: m.Stride}
	if begin < end { // otherwise m.Data may end before row begin
		rows.Data = m.Data[begin*m.Stride : (end-1)*m.Stride+m.Cols]
	}
	return rows
}

// Copy copies src into dst, which has its shape.
func Copy(dst, src blas32.General) {
	for i := range src.Rows {
		copy(Row(dst, i), Row(src, i))
	}
}
