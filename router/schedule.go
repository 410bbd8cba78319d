package router

import (
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Curve says how a [Schedule] gets from its first number to its last.
type Curve int

const (
	// CurveLinear is From + round((To−From)·t/T).
	CurveLinear Curve = iota
	// CurveHalfCosine is From + round((To−From)·(1−cos(π·t/T))/2): slow at both ends.
	CurveHalfCosine
	// CurveExponential is To − round((To−From)·0.99^(300·t/T)): fast at first, and 5 % of the way
	// short of To at T, where it jumps to it.
	CurveExponential
	// CurveMultiStep doubles the number, or halves it, at equal intervals: from 1 to 16 it is 1,
	// 2, 4, 8 and 16 for a fifth of T each.
	CurveMultiStep

	curves int = iota
)

// String returns the curve's name.
func (c Curve) String() string {
	names := [...]string{"linear", "half cosine", "exponential", "multi-step"}
	if c < 0 || int(c) >= len(names) {
		return fmt.Sprintf("Curve(%d)", int(c))
	}
	return names[c]
}

// Schedule is a number of experts that changes with the optimizer's steps: From at step 0, To from
// step Steps on. It may rise or fall. Halves are rounded to the even number. (Chen et al. 2023,
// SMoE-Dropout, whose code has these curves; of the exponential one we know the rate, 0.99 for each
// 300th of T.)
type Schedule struct {
	Curve Curve
	// From and To are the first number and the last, at least 1.
	From, To int
	// Steps is T, when To is reached; at 0 it always is.
	Steps int
}

// At returns the number at a step.
func (s Schedule) At(step int) int {
	if step >= s.Steps {
		return s.To
	}
	// With whole numbers first, so that what lies in the middle is exactly there.
	t, way := float64(max(step, 0)), float64(s.To-s.From)
	switch s.Curve {
	case CurveHalfCosine:
		return s.From + int(math.RoundToEven(way*(1-cosine01(t/float64(s.Steps)))/2))
	case CurveExponential:
		return s.To - int(math.RoundToEven(way*decay(t/float64(s.Steps))))
	case CurveMultiStep:
		return s.doubled(int(t))
	}
	return s.From + int(math.RoundToEven(way*t/float64(s.Steps)))
}

// doubled returns the number of the multi-step curve.
func (s Schedule) doubled(step int) int {
	low, high := min(s.From, s.To), max(s.From, s.To)
	powers := 1
	for k := low; k < high; k *= 2 {
		powers++
	}
	n := int(int64(step) * int64(powers) / int64(s.Steps))
	if s.From > s.To {
		n = powers - 1 - n
	}
	return min(low<<n, high)
}

// decay returns 0.99^(300·t), with the same bits everywhere.
func decay(t float64) float64 {
	p := [1]float32{float32(300 * t * ln(0.99))}
	f32.Exp(p[:], p[:])
	return float64(p[0])
}

// cosine01 returns cos(π·t) for t from 0 to 1. math.Cos has other last bits on other processors;
// and here −cos(π·t) is cos(π·(1−t)) to the bit, so that rounding does not favour either end.
func cosine01(t float64) float64 {
	if t > 0.5 {
		return -cosine01(1 - t)
	}
	if t == 0.5 {
		return 0
	}
	x := math.Pi * t
	q := float64(x * x)
	sum := 1.0
	for n := 22; n > 0; n -= 2 { // Horner's rule on the Taylor series
		sum = 1 - float64(float64(sum*q)/float64(n*(n-1)))
	}
	return sum
}

// faults returns what is wrong with s.
func (s Schedule) faults(most int) (faults []error) {
	if s.Curve < 0 || int(s.Curve) >= curves {
		faults = append(faults, fmt.Errorf("router: Schedule: unknown curve %d", int(s.Curve)))
	}
	if min(s.From, s.To) < 1 || max(s.From, s.To) > most {
		faults = append(faults, fmt.Errorf("router: Schedule: from %d to %d experts, want 1 to %d", s.From, s.To, most))
	}
	if s.Steps < 0 {
		faults = append(faults, fmt.Errorf("router: Schedule: %d steps, want at least 0", s.Steps))
	}
	return faults
}
