package gpt

import "github.com/switchyard-moe/switchyard/internal/f32"

// softmax replaces the scores x by e^x over the sum of them all. It returns the largest score, and
// the sum of e^(score - largest): the logarithm of the latter, plus the former, is the scores'
// log-sum-exp.
func softmax(x []float32) (largest, sum float32) {
	largest = x[0]
	for _, v := range x[1:] {
		largest = max(largest, v)
	}
	for i := range x {
		x[i] -= largest
	}
	f32.Exp(x, x)
	sum = f32.Sum(x)
	f32.Scale(x, 1/sum)
	return largest, sum
}

// softmaxBackward turns d, the gradient with respect to the probabilities p, into scale × the one
// with respect to their scores: p·(d - Σ p·d).
func softmaxBackward(d, p []float32, scale float32) {
	mean := f32.Dot(d, p)
	for i, q := range p {
		d[i] = float32(q*(d[i]-mean)) * scale
	}
}
