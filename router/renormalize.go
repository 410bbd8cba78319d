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

// resolve puts what the score asks for in place of RenormalizeByScore.
func (r Renormalize) resolve(s scoring, k int) Renormalize {
	switch {
	case r != RenormalizeByScore:
		return r
	case s.normalize() && k > 1:
		return RenormalizeBeforeDrop
	}
	return RenormalizeNever
}

// faint is the sum of weights below which they are not divided by it: by then float32 may have lost
// some of them. The shares of such weights come from their logarithms, which no logit is too
// negative for.
const faint = 1e-12

// normalize fills dst with w divided by its sum, or leaves it and returns false where that is
// faint. dst may be w.
func normalize(dst, w []float32) bool {
	total := sum(w)
	if total < faint {
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
func normalizeBackward(d, w []float32) bool {
	total := sum(w)
	if total < faint {
		return false
	}
	inv := 1 / total
	mean := float64(dot(d, w) * inv)
	for j, v := range d {
		d[j] = float32((float64(v) - mean) * inv)
	}
	return true
}

// faintShares fills dst with the weights of a token divided by their sum, if that is faint: a
// faint score is e^(rate·logit) to within a part in 10¹², so shares are a softmax. Choices that
// kept, if it is not nil, says are in no expert get 0.
func faintShares(dst []float32, rate float32, t token, kept []int32) {
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

// faintBackward adds to dlogits what d, the gradient with respect to the result of faintShares,
// asks for, and clears d.
func (g *tokenChoice) faintBackward(dlogits, d []float32, t token, kept []int32) {
	g.faint = mat.Reuse(g.faint, len(d))
	shares, rate := g.faint, g.scoring.rate()
	faintShares(shares, rate, t, kept)
	mean := dot(shares, d)
	for j, e := range t.chosen {
		dlogits[e] += float32(float64(rate) * float64(shares[j]) * (float64(d[j]) - mean))
	}
	clear(d)
}

// sharesOf returns a token's scores of all experts and what they are to be multiplied by to sum to
// 1. scratch has room for them.
func sharesOf(s scoring, scores, logits, scratch []float32) (values []float32, inv float64) {
	if total := sum(scores); total >= faint {
		return scores, 1 / total
	}
	rate := s.rate()
	for e, v := range logits {
		scratch[e] = rate * v
	}
	softmax(scratch, scratch)
	return scratch, 1
}
