package lsh

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f64"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// spd inverts symmetric positive definite matrices, in float64: kernel matrices have eigenvalues
// from the ridge to the number of their rows.
type spd struct {
	n       int
	lower   []float64 // of Cholesky's factor L; then, by columns, of its inverse
	inverse mat.Buffer
	sums    [4]f64.Lanes // scratch
}

// invert returns the inverse of a + ridge, rounded to float32. It belongs to s. If a + ridge is not
// positive definite to working precision, as may happen with a tiny ridge, the pivot is raised to
// the rounding error.
func (s *spd) invert(a blas32.General, ridge float32) blas32.General {
	s.n = a.Rows
	s.lower = mat.Reuse(s.lower, 2*s.n*s.n)
	s.factor(a, float64(ridge))
	s.invertFactor()
	out := s.inverse.Matrix(s.n, s.n)
	for i := range s.n {
		// Rows i and j of the transposed inverse of L, from the column where both have begun.
		at := s.column(i)[i:]
		put := func(j int, v float64) {
			out.Data[i*s.n+j], out.Data[j*s.n+i] = float32(v), float32(v)
		}
		j := 0
		for ; j+4 <= i+1; j += 4 {
			y := [4][]float64{s.column(j)[i:], s.column(j + 1)[i:], s.column(j + 2)[i:], s.column(j + 3)[i:]}
			n := f64.Dots(&s.sums, at, &y)
			for r := range y {
				put(j+r, s.sums[r].Close(at[n:], y[r][n:]))
			}
		}
		for ; j <= i; j++ {
			put(j, f64.Dot(at, s.column(j)[i:]))
		}
	}
	return out
}

// leftOut returns two sums of squared errors of the regression of y on the kernel matrix a, over
// the elements of y, whose columns follow each other. left is for what is found for an element from
// the others, v/d with v = (a + ridge)⁻¹·y and the inverse's diagonal d; kept for what is found
// from all, ridge·v (Rasmussen and Williams 2006, §5.4.2). It overwrites y.
func (s *spd) leftOut(a blas32.General, ridge float32, y []float64) (left, kept float64) {
	s.n = a.Rows
	s.lower = mat.Reuse(s.lower, 2*s.n*s.n)
	s.factor(a, float64(ridge))
	s.invertFactor()
	for ; len(y) > 0; y = y[s.n:] {
		column := y[:s.n]
		s.solveLower(column)
		for j := range column {
			v := s.column(j)[j:]
			e, d := f64.Dot(v, column[j:]), f64.Dot(v, v)
			left += float64(e * e / (d * d))
			kept += float64(e * e)
		}
	}
	return left, kept * float64(ridge) * float64(ridge)
}

// solveLower sets y to the inverse of L times y.
func (s *spd) solveLower(y []float64) {
	for i := range y {
		li := s.row(i)
		y[i] = (y[i] - f64.Dot(li[:i], y[:i])) / li[i]
	}
}

// row is row i of L.
func (s *spd) row(i int) []float64 { return s.lower[i*s.n : (i+1)*s.n] }

// column is column j of the inverse of L.
func (s *spd) column(j int) []float64 { return s.lower[(s.n+j)*s.n : (s.n+j+1)*s.n] }

// factor computes L with L·Lᵀ = a + ridge, four rows at a time.
func (s *spd) factor(a blas32.General, ridge float64) {
	for i := 0; i < s.n; i += 4 {
		end := min(i+4, s.n)
		if end == i+4 {
			s.factorFour(a, i)
		} else {
			s.factorRows(a, i, end, 0, i)
		}
		for r := i; r < end; r++ {
			s.factorRows(a, r, r+1, i, r)
			s.pivot(a, r, ridge)
		}
	}
}

// factorFour computes rows i to i+3 of L up to column i.
func (s *spd) factorFour(a blas32.General, i int) {
	rows := [4][]float64{s.row(i), s.row(i + 1), s.row(i + 2), s.row(i + 3)}
	for j := range i {
		lj := s.row(j)
		n := f64.Dots(&s.sums, lj[:j], &rows)
		for r, li := range rows {
			known := s.sums[r].Close(li[n:j], lj[n:j])
			li[j] = (float64(a.Data[(i+r)*a.Stride+j]) - known) / lj[j]
		}
	}
}

// factorRows computes columns [from, to) of rows [begin, end) of L.
func (s *spd) factorRows(a blas32.General, begin, end, from, to int) {
	for i := begin; i < end; i++ {
		li := s.row(i)
		for j := from; j < to; j++ {
			lj := s.row(j)
			li[j] = (float64(a.Data[i*a.Stride+j]) - f64.Dot(li[:j], lj[:j])) / lj[j]
		}
	}
}

// pivot computes element i of row i of L.
func (s *spd) pivot(a blas32.General, i int, ridge float64) {
	const uncertain = 1e-12
	li := s.row(i)
	pivot := float64(a.Data[i*a.Stride+i]) + ridge - f64.Dot(li[:i], li[:i])
	li[i] = math.Sqrt(max(pivot, uncertain))
}

// invertFactor solves L·V = 1 column by column: V(i, j) = (1 if i = j, less Σ L(i, k)·V(k, j) over
// j ≤ k < i) / L(i, i). The sums of four elements are begun together, as far as V is known.
func (s *spd) invertFactor() {
	for j := range s.n {
		v := s.column(j)
		v[j] = 1 / s.row(j)[j]
		i := j + 1
		for ; i+4 <= s.n; i += 4 {
			rows := [4][]float64{s.row(i)[j:], s.row(i + 1)[j:], s.row(i + 2)[j:], s.row(i + 3)[j:]}
			n := f64.Dots(&s.sums, v[j:i], &rows)
			for r, li := range rows {
				at := i + r - j
				v[i+r] = -s.sums[r].Close(li[n:at], v[j+n:i+r]) / li[at]
			}
		}
		for ; i < s.n; i++ {
			li := s.row(i)
			v[i] = -f64.Dot(li[j:i], v[j:i]) / li[i]
		}
	}
}
