package gpt

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"
)

// normEps is added to a row's variance, so that a constant row does not divide by zero.
const normEps = 1e-5

// norm is layer normalisation: each row is shifted and scaled to mean 0 and variance 1, then
// multiplied by a gain and moved by a bias, element by element.
type norm struct{ gain, bias []float32 }

// forward writes the normalised rows of x to y.
func (n norm) forward(y, x blas32.General) {
	for i := range x.Rows {
		in, out := row(x, i), row(y, i)
		mean, scale := moments(in)
		for j, v := range in {
			out[j] = float32(float32(float32(v-mean)*scale)*n.gain[j]) + n.bias[j]
		}
	}
}

// backward adds the gradient with respect to x to dx, given dy, and adds those of gain and bias to
// grad's. dx and dy must not overlap.
func (n norm) backward(dx, dy, x blas32.General, grad norm) {
	for i := range x.Rows {
		n.backwardRow(row(dx, i), row(dy, i), row(x, i), grad)
	}
}

// backwardRow does one row: with u the row before gain and bias, and g the gradient that reaches u,
// dx = scale·(g - mean(g) - u·mean(g·u)).
func (n norm) backwardRow(dx, dy, x []float32, grad norm) {
	mean, scale := moments(x)
	var sumG, sumGU float64
	for j, d := range dy {
		u := float32(x[j]-mean) * scale
		g := float32(d * n.gain[j])
		grad.gain[j] += float32(d * u)
		grad.bias[j] += d
		sumG += float64(g)
		sumGU += float64(float32(g * u))
	}
	meanG, meanGU := float32(sumG/float64(len(x))), float32(sumGU/float64(len(x)))
	for j, d := range dy {
		u := float32(x[j]-mean) * scale
		g := float32(d * n.gain[j])
		dx[j] += float32(scale * (g - meanG - float32(u*meanGU)))
	}
}

// moments returns a row's mean and the inverse of its standard deviation. The sums are taken in
// float64, in order, and their terms are exact or rounded once, so the result is the same on every
// machine.
func moments(x []float32) (mean, scale float32) {
	var sum float64
	for _, v := range x {
		sum += float64(v)
	}
	m := sum / float64(len(x))
	var squares float64
	for _, v := range x {
		d := float64(v) - m
		squares += float64(d * d)
	}
	return float32(m), float32(1 / math.Sqrt(squares/float64(len(x))+normEps))
}
