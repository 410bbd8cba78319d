package router

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Formula is a library's rule for how many of a token group's T tokens, k choices
// each, one of E experts takes at a capacity factor f. All are computed from left to right in
// float64. For T = 10, E = 4, k = 2, f = 1.25 the eight libraries give six answers, which stand at
// the end of each line.
type Formula int

const (
	// MegatronCapacity is ⌈T·k/E·f⌉. (Megatron-Core.) 7
	MegatronCapacity Formula = iota
	// DeepSpeedCapacity is ⌈T/E·f·k⌉. (DeepSpeed.) 7
	DeepSpeedCapacity
	// TutelCapacity is k·⌊f·⌈T/E⌉⌋. (Tutel.) 6
	TutelCapacity
	// FastMoECapacity is ⌊⌈f·T⌉·k/E⌋. (FastMoE's GShard gate.) 6
	FastMoECapacity
	// MegaBlocksCapacity is ⌊f·k·T/E⌋. (MegaBlocks.) 6
	MegaBlocksCapacity
	// FairscaleCapacity is ⌊2·T/E⌋, whatever k and f, if only f is not 0. (fairscale.) 5
	FairscaleCapacity
	// HetuCapacity is k·⌈T/E·f⌉. (HetuMoE.) 8
	HetuCapacity
	// FlaxformerCapacity is f·T/E to the nearest whole number, halves to the even one, whatever k.
	// (flaxformer.) 3
	FlaxformerCapacity

	formulas int = iota
)

// String returns the library's name.
func (f Formula) String() string {
	names := [...]string{"Megatron", "DeepSpeed", "Tutel", "FastMoE", "MegaBlocks", "fairscale", "Hetu", "flaxformer"}
	if f < 0 || int(f) >= len(names) {
		return fmt.Sprintf("Formula(%d)", int(f))
	}
	return names[f]
}

// of returns the formula's answer, which may be infinite.
func (f Formula) of(tokens, k, experts int, factor float64) float64 {
	t, n, e := float64(tokens), float64(k), float64(experts)
	switch f {
	case DeepSpeedCapacity:
		return math.Ceil(t / e * factor * n)
	case TutelCapacity:
		return n * math.Floor(factor*math.Ceil(t/e))
	case FastMoECapacity:
		return math.Floor(math.Ceil(factor*t) * n / e)
	case MegaBlocksCapacity:
		return math.Floor(factor * n * t / e)
	case FairscaleCapacity:
		return math.Floor(2 * t / e)
	case HetuCapacity:
		return n * math.Ceil(t/e*factor)
	case FlaxformerCapacity:
		return math.RoundToEven(factor * t / e)
	}
	return math.Ceil(t * n / e * factor)
}

// Capacity says how a capacity factor bounds what an expert takes of a token group. The zero value
// is Megatron's formula, alike in training and evaluation.
type Capacity struct {
	// Formula turns the factor into a number of tokens.
	Formula Formula
	// EvalFactor replaces the factor in evaluation; 0 stands for the same factor, +Inf for no bound.
	EvalFactor float64
	// Min is the least capacity; 0 is none. (DeepSpeed, flaxformer.)
	Min int
	// Align rounds the capacity up to a multiple of itself; 0 and 1 leave it. (Tutel, Megatron.)
	Align int
	// Capped lowers the capacity to what the group's fullest expert needs, before Align. Nothing
	// more is dropped: it is for callers that size buffers by [Decision.GroupCapacity]. (Tutel's
	// negative factors.)
	Capped bool
}

// room returns the most that an expert takes of a token group. counts holds what each was chosen
// by, or nothing if that is not known.
func (c Capacity) room(factor float64, tokens, k, experts int, train bool, counts []int) int {
	if !train && c.EvalFactor != 0 {
		factor = c.EvalFactor
	}
	if factor == 0 || math.IsInf(factor, 1) {
		return math.MaxInt
	}
	most := max(c.Formula.of(tokens, k, experts, factor), float64(c.Min))
	if c.Capped && len(counts) != 0 {
		most = min(most, float64(slices.Max(counts)))
	}
	if a := float64(c.Align); a > 1 {
		most = math.Ceil(most/a) * a
	}
	if most >= math.MaxInt32 {
		return math.MaxInt
	}
	return int(most)
}

// faults returns what is wrong with c.
func (c Capacity) faults() (faults []error) {
	if c.Formula < 0 || int(c.Formula) >= formulas {
		faults = append(faults, fmt.Errorf("router: unknown capacity formula %d", int(c.Formula)))
	}
	if !(c.EvalFactor >= 0) {
		faults = append(faults, fmt.Errorf("router: capacity factor for evaluation is %v, want a number from 0", c.EvalFactor))
	}
	if c.Min < 0 || c.Align < 0 {
		faults = append(faults, errors.New("router: least capacity and alignment of capacity must not be negative"))
	}
	return faults
}
