package alltoall

import (
	"slices"

	"gonum.org/v1/gonum/blas/blas32"
)

// pool keeps the matrices of past steps for the next ones: routing changes their sizes a little
// from step to step, so a new one has room to grow.
type pool struct{ free [][]float32 }

// matrix returns a packed matrix of undefined content.
func (p *pool) matrix(rows, cols int) blas32.General {
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: p.get(rows * cols)}
}

// get takes the memory that was used last, since some of it may still be in a cache.
func (p *pool) get(n int) []float32 {
	for i := len(p.free) - 1; i >= 0; i-- {
		if data := p.free[i]; cap(data) >= n {
			p.free = slices.Delete(p.free, i, i+1)
			return data[:n]
		}
	}
	const headroom = 8 // an eighth more than asked
	return make([]float32, n, n+n/headroom)
}

func (p *pool) put(data []float32) {
	const most = 8 // matrices kept: those of one forward and one backward pass
	if cap(data) == 0 {
		return
	}
	if len(p.free) < most {
		p.free = append(p.free, data)
		return
	}
	smallest := 0
	for i := range p.free {
		if cap(p.free[i]) < cap(p.free[smallest]) {
			smallest = i
		}
	}
	if cap(data) > cap(p.free[smallest]) {
		p.free[smallest] = data
	}
}
