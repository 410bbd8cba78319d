package lsh

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// spd inverts symmetric positive definite matrices, in float64: kernel matrices have eigenvalues
// from the ridge to the number of their rows.
type spd struct {
	n       int
	lower   []float64 // of Cholesky's factor L; then, by columns, of its inverse
	inverse mat.Buffer
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
		for j := range i + 1 {
			// Rows i and j of the transposed inverse of L, from the column where both have begun.
			v := float32(dot(s.column(i)[i:], s.column(j)[i:]))
			out.Data[i*s.n+j], out.Data[j*s.n+i] = v, v
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
			e, d := dot(v, column[j:]), dot(v, v)
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
		y[i] = (y[i] - dot(li[:i], y[:i])) / li[i]
	}
}

// row is row i of L.
func (s *spd) row(i int) []float64 { return s.lower[i*s.n : (i+1)*s.n] }

// column is column j of the inverse of L.
func (s *spd) column(j int) []float64 { return s.lower[(s.n+j)*s.n : (s.n+j+1)*s.n] }

// factor computes L with L·Lᵀ = a + ridge.
func (s *spd) factor(a blas32.General, ridge float64) {
	const uncertain = 1e-12
	for i := range s.n {
		li := s.row(i)
		for j := range i {
			lj := s.row(j)
			li[j] = (float64(a.Data[i*a.Stride+j]) - dot(li[:j], lj[:j])) / lj[j]
		}
		pivot := float64(a.Data[i*a.Stride+i]) + ridge - dot(li[:i], li[:i])
		li[i] = math.Sqrt(max(pivot, uncertain))
	}
}

// invertFactor solves L·V = 1 column by column: V(i, j) = (1 if i = j, less Σ L(i, k)·V(k, j) over
// j ≤ k < i) / L(i, i).
func (s *spd) invertFactor() {
	for j := range s.n {
		v := s.column(j)
		v[j] = 1 / s.row(j)[j]
		for i := j + 1; i < s.n; i++ {
			li := s.row(i)
			v[i] = -dot(li[j:i], v[j:i]) / li[i]
		}
	}
}

// dot returns Σ x[i]·y[i]: sum i%4 adds its products in ascending i, and the four sums are added as
// (0+1) + (2+3).
func dot(x, y []float64) float64 {
	var a, b, c, d float64
	y = y[:len(x)]
	for len(x) >= 4 && len(y) >= 4 {
		a += float64(x[0] * y[0])
		b += float64(x[1] * y[1])
		c += float64(x[2] * y[2])
		d += float64(x[3] * y[3])
		x, y = x[4:], y[4:]
	}
	for i := range x {
		switch i {
		case 0:
			a += float64(x[0] * y[0])
		case 1:
			b += float64(x[1] * y[1])
		default:
			c += float64(x[2] * y[2])
		}
	}
	return (a + b) + (c + d)
}
