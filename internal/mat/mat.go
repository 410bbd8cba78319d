// Package mat has small helpers for row-major matrices of gonum.
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
	return blas32.General{Rows: end - begin, Cols: m.Cols, Stride: m.Stride, Data: m.Data[begin*m.Stride : end*m.Stride]}
}

// Sum adds up a list of integers.
func Sum(list []int) int {
	total := 0
	for _, n := range list {
		total += n
	}
	return total
}
