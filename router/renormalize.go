package router

import "fmt"

// Renormalize says when a token's weights are divided by their sum.
type Renormalize int

const (
	// RenormalizeByScore does as the score's authors do: before drops for several sigmoids, never otherwise.
	RenormalizeByScore Renormalize = iota
	// RenormalizeNever keeps the scores as they are.
	RenormalizeNever
	// RenormalizeBeforeDrop divides by the sum over all experts that the token chose, so that a drop leaves less
	// than 1. (Megatron, Tutel.)
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

// leastSum keeps the quotient finite for a token all of whose weights have underflown; it is far below
// the last place of any sum that has not. (Megatron's constant.)
const leastSum = 1e-20

// normalize fills dst with w divided by its sum. dst may be w.
func normalize(dst, w []float32) {
	inv := 1 / (sum(w) + leastSum)
	for j, v := range w {
		dst[j] = float32(float64(v) * inv)
	}
}

// normalizeBackward turns d, the gradient with respect to the result of normalize of w, into the one with respect to
// w.
func normalizeBackward(d, w []float32) {
	inv := 1 / (sum(w) + leastSum)
	mean := float64(dot(d, w) * inv)
	for j, v := range d {
		d[j] = float32((float64(v) - mean) * inv)
	}
}
