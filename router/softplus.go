package router

import (
	"math"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// sqrtSoftplus is what [SqrtSoftplus] computes.
type sqrtSoftplus struct{}

func (sqrtSoftplus) forAll() bool    { return false }
func (sqrtSoftplus) normalize() bool { return true }
func (sqrtSoftplus) rate() float32   { return 0.5 }

func (sqrtSoftplus) score(dst, logits []float32) {
	softplus(dst, logits)
	for e, v := range dst {
		dst[e] = float32(math.Sqrt(float64(v)))
	}
}

func (s sqrtSoftplus) weigh(raw []float32, t token) {
	for j, e := range t.chosen {
		raw[j] = t.logits[e]
	}
	s.score(raw, raw)
}

func (sqrtSoftplus) backward(dlogits, draw, dshare []float32, t token) {
	f32.Sigmoid(t.scratch, t.logits)
	for j, e := range t.chosen {
		dlogits[e] += float32(float64(draw[j]) * rootSlope(t.raw[j], t.scratch[e]))
	}
	sharesBackward(dlogits, dshare, t, sqrtSoftplus{}.rate(), func(e int) float64 { return rootSlope(t.scores[e], t.scratch[e]) })
}

// rootSlope is the derivative of √softplus where its value is root and that of the sigmoid is s.
// If the root has underflowed, so has its slope.
func rootSlope(root, s float32) float64 {
	if root == 0 {
		return 0
	}
	return float64(s) / (2 * float64(root))
}

// softplus fills dst with ln(1 + eˣ), which may be x. It is max(x, 0) + ln(1 + e^−|x|), so that
// nothing overflows.
func softplus(dst, x []float32) {
	var block [32]float32
	for len(x) > 0 {
		n := min(len(x), len(block))
		for i, v := range x[:n] {
			block[i] = -float32(math.Abs(float64(v)))
		}
		f32.Exp(block[:n], block[:n])
		for i, v := range x[:n] {
			dst[i] = float32(float64(max(v, 0)) + log1p(float64(block[i])))
		}
		dst, x = dst[n:], x[n:]
	}
}

// log1p returns ln(1 + y) for y from 0 to 1, as exact for the smallest y as for the largest.
// ([math.Log1p] has other bits on other processors.)
func log1p(y float64) float64 {
	// 2·artanh(s) = ln((1+s)/(1−s)), a series in s ≤ ⅓.
	s := y / (2 + y)
	q, total := float64(s*s), 0.0
	for i := 33; i >= 1; i -= 2 {
		total = float64(total*q) + 1/float64(i)
	}
	return float64(2 * s * total)
}
