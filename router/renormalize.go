package router

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Renormalize says when a token's weights are divided by their sum.
type Renormalize int

const (
	// RenormalizeByScore does as the score's authors do: before drops for several sigmoids, never
	// otherwise.
	RenormalizeByScore Renormalize = iota
	// RenormalizeNever keeps the scores as they are.
	RenormalizeNever
	// RenormalizeBeforeDrop divides by the sum over all experts that the token chose, so that a
	// drop leaves less than 1. (Megatron, Tutel.)
	RenormalizeBeforeDrop
	// RenormalizeAfterDrop divides by the sum over the experts that took the token. (DeepSpeed.)
	RenormalizeAfterDrop

	renormalizes int = iota
)

// String returns the mode's name.
func (r Renormalize) String() string {
	switch r {
	case RenormalizeByScore:
		return "by score"
	case RenormalizeNever:
		return "never"
	case RenormalizeBeforeDrop:
		return "before drop"
	case RenormalizeAfterDrop:
		return "after drop"
	}
	return fmt.Sprintf("Renormalize(%d)", int(r))
}

// resolve replaces RenormalizeByScore by the mode of the score.
func (r Renormalize) resolve(s scoring, k int) Renormalize {
	switch {
	case r != RenormalizeByScore:
		return r
	case s.normalize() && k > 1:
		return RenormalizeBeforeDrop
	}
	return RenormalizeNever
}

// tinySum is the sum of weights below which they are not divided by it, because float32 may have
// lost some of them. The shares of such weights are computed from their logarithms, which float32
// holds for any logit.
const tinySum = 1e-12

// normalize fills dst with w divided by its sum plus epsilon, or leaves it and returns false if
// that is below tinySum. dst may be w.
func normalize(dst, w []float32, epsilon float64) bool {
	total := sum(w) + epsilon
	if total < tinySum {
		return false
	}
	inv := 1 / total
	for j, v := range w {
		dst[j] = float32(float64(v) * inv)
	}
	return true
}

// normalizeBackward turns d, the gradient with respect to the result of normalize of w, into the
// one with respect to w, or leaves it and returns false if normalize does.
func normalizeBackward(d, w []float32, epsilon float64) bool {
	total := sum(w) + epsilon
	if total < tinySum {
		return false
	}
	inv := 1 / total
	mean := float64(dot(d, w) * inv)
	for j, v := range d {
		d[j] = float32((float64(v) - mean) * inv)
	}
	return true
}

// tinyShares fills dst with the weights of a token divided by their sum, if that is below tinySum:
// a score that small is e^(rate·logit) to within 1 in 10¹², so the shares are a softmax. kept, if
// not nil, has an entry below 0 for choices without an expert, whose share is 0.
func tinyShares(dst []float32, rate float32, t token, kept []int32) {
	logs := t.scratch[:0]
	for j, e := range t.chosen {
		if kept == nil || kept[j] >= 0 {
			logs = append(logs, rate*t.logits[e])
		}
	}
	softmax(logs, logs)
	for j := range dst {
		dst[j] = 0
		if kept == nil || kept[j] >= 0 {
			dst[j], logs = logs[0], logs[1:]
		}
	}
}

// tinyBackward is the backward pass of tinyShares: it adds the gradient of the logits for d, that
// of the shares, to dlogits, and clears d.
func (g *tokenChoice) tinyBackward(dlogits, d []float32, t token, kept []int32) {
	g.tiny = mat.Reuse(g.tiny, len(d))
	shares, rate := g.tiny, g.scoring.rate()
	tinyShares(shares, rate, t, kept)
	mean := dot(shares, d)
	for j, e := range t.chosen {
		dlogits[e] += float32(float64(rate) * float64(shares[j]) * (float64(d[j]) - mean))
	}
	clear(d)
}

// sharesOf returns a token's scores of all experts and what they are to be multiplied by to sum to
// 1. scratch has room for them.
func sharesOf(s scoring, scores, logits, scratch []float32) (values []float32, inv float64) {
	if total := sum(scores); total >= tinySum {
		return scores, 1 / total
	}
	rate := s.rate()
	for e, v := range logits {
		scratch[e] = rate * v
	}
	softmax(scratch, scratch)
	return scratch, 1
}
