package router

import (
	"math"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// softmax fills dst with the softmax of x, which it may be, and returns ln Σ eˣ. All of x are
// finite; of none, the result is −∞.
func softmax(dst, x []float32) (logSumExp float64) {
	if len(x) == 0 {
		return math.Inf(-1)
	}
	top := x[0]
	for _, v := range x[1:] {
		top = max(top, v)
	}
	for i, v := range x {
		dst[i] = v - top
	}
	f32.Exp(dst, dst)
	sum := f32.Sum(dst)
	f32.Scale(dst, 1/sum)
	return float64(top) + ln(float64(sum))
}

// softmaxBackward adds to dx the gradient with respect to the input of a softmax with result y,
// from the one with respect to y.
func softmaxBackward(dx, y, dy []float32) {
	mean := dot(y, dy)
	for i, v := range y {
		dx[i] += float32(float64(v) * (float64(dy[i]) - mean))
	}
}

// dot adds in float64, from the first to the last. There the product of two float32 numbers is
// exact, so a compiler that fuses it with the sum changes nothing.
func dot(x, y []float32) float64 {
	sum := 0.0
	for i, v := range x {
		sum += float64(v) * float64(y[i])
	}
	return sum
}

// sum adds in float64, from the first to the last.
func sum(x []float32) float64 {
	s := 0.0
	for _, v := range x {
		s += float64(v)
	}
	return s
}

// ln returns the natural logarithm of a positive normal number, to within a few units in the last
// place. It takes the place of math.Log, whose last bits differ between processors: each product is
// rounded before it is added.
func ln(x float64) float64 {
	f, n := math.Frexp(x)
	if f < math.Sqrt2/2 {
		f, n = 2*f, n-1
	}
	// ln f = 2·artanh(s), an odd series in s with |s| < 0.172.
	s := (f - 1) / (f + 1)
	q, sum := float64(s*s), 0.0
	for i := 23; i >= 1; i -= 2 {
		sum = float64(sum*q) + 1/float64(i)
	}
	return float64(2*s*sum) + float64(float64(n)*math.Ln2)
}
