package router

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// TopK is the router of almost every model: a linear gate, of whose logits each token takes the k largest. Equal ones go
// to the lowest expert. K alone must be set.
//
// A decision of its gates, and what the gate remembers of it, is used again once it has been passed to Backward: one
// that has must not be read any more. So training allocates nothing in the steady state.
//
// (Shazeer et al. 2017 without noise; Fedus et al. 2021 with K = 1; Mixtral; Megatron-Core and DeepSpeed for the modes.)
type TopK struct {
	// K is the number of experts that each token chooses, from 1 to all.
	K int
	// Score says how weights come from logits.
	Score Score
	// Renormalize says when a token's weights are divided by their sum.
	Renormalize Renormalize
	// Scale multiplies all weights; 0 stands for 1. (DeepSeek-V3's route scale.)
	Scale float32
	// Bias, where there is one, is added to each expert's score for the choice alone, never to the weights, and is
	// not trained. It goes with [Sigmoid]. New copies it. (DeepSeek-V3.)
	Bias []float32
	// CapacityFactor bounds what an expert takes of each group of tokens: ⌈T·K/E·CapacityFactor⌉ of the group's T,
	// computed from left to right in float64. 0 is no bound: nothing is dropped.
	CapacityFactor float64
	// Drop says which tokens an expert keeps when more chose it.
	Drop Drop
	// Losses lists the auxiliary losses.
	Losses []Loss
}

var _ Router = TopK{}

// New is described at [Router]. The parameters are one tensor, "gate", Dim × Experts, drawn uniformly from ±1/√Dim.
func (r TopK) New(s Shape) (Gate, error) {
	if err := errors.Join(append(checkShape(s), r.faults(s)...)...); err != nil {
		return nil, err
	}
	scoring := r.Score.scoring()
	g := &tokenChoice{
		projection: newLinear(s),
		scoring:    scoring,
		renorm:     r.Renormalize.resolve(scoring, r.K),
		drop:       dropper{rule: r.Drop},
		losses:     slices.Clone(r.Losses),
		dim:        s.Dim, experts: s.Experts, k: r.K,
		factor: r.CapacityFactor,
		scale:  r.Scale,
		bias:   slices.Clone(r.Bias),
	}
	if r.Scale == 0 {
		g.scale = 1
	}
	for _, l := range r.Losses {
		shares, logSumExp := l.term.needs()
		g.needShares = g.needShares || shares
		g.needLogSumExp = g.needLogSumExp || logSumExp
	}
	g.needScores = g.needShares || scoring.forAll() || r.Bias != nil
	return g, nil
}

// Capacity returns the most of a group's tokens that one of the experts takes; math.MaxInt where there is no bound.
func (r TopK) Capacity(tokens, experts int) int {
	return capacity(tokens, r.K, experts, r.CapacityFactor)
}

// faults returns all that is wrong with r for a gate of shape s.
func (r TopK) faults(s Shape) []error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf("router: TopK: "+format, args...))
		}
	}
	fault(r.K < 1 || r.K > max(s.Experts, 1), "K is %d, want 1 to the %d experts", r.K, s.Experts)
	fault(r.Score < 0 || int(r.Score) >= scores, "unknown score %d", int(r.Score))
	fault(r.Renormalize < 0 || int(r.Renormalize) >= renormalizes, "unknown renormalisation %d", int(r.Renormalize))
	fault(r.Drop < 0 || int(r.Drop) >= drops, "unknown drop rule %d", int(r.Drop))
	fault(!(r.Scale >= 0) || isInf(r.Scale), "scale is %v, want a finite number from 0", r.Scale)
	fault(!(r.CapacityFactor >= 0) || math.IsInf(r.CapacityFactor, 1), "capacity factor is %v, want a finite number from 0", r.CapacityFactor)
	fault(r.Bias != nil && len(r.Bias) != s.Experts, "bias of %d experts for %d", len(r.Bias), s.Experts)
	fault(r.Bias != nil && r.Score != Sigmoid, "bias goes with the sigmoid score, not with %v", r.Score)
	fault(firstInfinite(r.Bias) >= 0, "bias is not finite at expert %d", firstInfinite(r.Bias))
	return append(faults, checkLosses(r.Losses)...)
}

func isInf(x float32) bool { return math.IsInf(float64(x), 0) }

// checkShape returns what is wrong with a shape.
func checkShape(s Shape) []error {
	var faults []error
	if s.Dim < 1 {
		faults = append(faults, fmt.Errorf("router: tokens of %d columns, want at least 1", s.Dim))
	}
	if s.Experts < 1 {
		faults = append(faults, fmt.Errorf("router: %d experts, want at least 1", s.Experts))
	}
	return faults
}
