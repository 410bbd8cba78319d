package gradients

import (
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// losses weighs the auxiliary losses of a step of several backward passes. They are to count as if
// all tokens of the step had come in one pass, each pass by its share of the tokens, padding left
// out. The gradient of the gate's parameters is exact, whatever the passes are: its part from the
// losses is kept apart, as a mean over the tokens of the passes so far. The gradient of the tokens
// leaves with its pass, and is scaled by what is known then: Batch.StepTokens, or else
// Config.MicroBatches passes of equal size.
type losses struct {
	lossesMean
	both []float32 // scratch: the gate's whole gradient

	// Of all passes since the last step:
	passes    int
	came      int // their tokens
	announced int // the StepTokens of each; −1 if they differ
}

// lossesMean is the losses' part of the gate's gradient, over the tokens of the passes in it.
type lossesMean struct {
	mean   []float32
	tokens int // of all ranks
}

// count counts a backward pass.
func (s *losses) count(p Batch) {
	if s.passes > 0 && s.announced != p.StepTokens {
		s.announced = -1
	} else {
		s.announced = p.StepTokens
	}
	s.passes++
	s.came += mat.Sum(p.Tokens)
}

// restart forgets the passes of the last step.
func (s *losses) restart() {
	s.tokens, s.came, s.announced, s.passes = 0, 0, 0, 0
}

// checkStepTokens returns an error if the passes since the last step had other tokens than their
// StepTokens says.
func (r *Reducer) checkStepTokens() error {
	s := &r.losses
	switch {
	case s.announced < 0:
		return fmt.Errorf("passes of one step gave different numbers as Batch.StepTokens")
	case s.announced > 0 && s.came != s.announced:
		return fmt.Errorf("%d tokens came in the passes of the step, and Batch.StepTokens announced %d",
			s.came, s.announced)
	}
	return nil
}

// average takes factor times grad, the mean over the given number of tokens, into the mean.
func (s *lossesMean) average(grad []float32, tokens int, factor float64) {
	if tokens == 0 {
		return
	}
	all := float64(s.tokens + tokens)
	old, new := float32(float64(s.tokens)/all), float32(factor*float64(tokens)/all)
	s.mean = slices.Grow(s.mean[:0], len(grad))[:len(grad)]
	for i, g := range grad {
		if s.tokens == 0 {
			s.mean[i] = g * new
			continue
		}
		s.mean[i] = float32(s.mean[i]*old) + float32(g*new)
	}
	s.tokens += tokens
}

// gateGradient is the gradient of the gate's parameters, of the weights and of the losses.
func (r *Reducer) gateGradient() []float32 {
	if r.losses.tokens == 0 {
		return r.sums[gateSet].total
	}
	r.losses.both = append(r.losses.both[:0], r.sums[gateSet].total...)
	f32.Add(r.losses.both, r.losses.mean)
	return r.losses.both
}
