package router

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// TopK is the router of almost every model: a linear gate, whose k largest logits choose a token's
// experts; of equal logits the lowest expert comes first. Only K must be set.
//
// Backward takes back the memory of a decision, which must not be read afterwards. So training
// allocates nothing in the steady state.
//
// (Shazeer et al. 2017 without noise; Fedus et al. 2021 with K = 1; Mixtral; Megatron-Core and
// DeepSpeed for the modes.)
type TopK struct {
	// K is the number of experts that each token chooses, from 1 to all.
	K int
	// Score says how weights come from logits.
	Score Score
	// Renormalize says when a token's weights are divided by their sum.
	Renormalize Renormalize
	// Epsilon is added to the sum by which weights are divided. (LFM2: 1e-6. That of most models is
	// too small for a float32 to show.)
	Epsilon float32
	// LogitBias adds a trained number to the logits of each expert: the tensor "gate_bias", which
	// begins at 0. (gpt-oss.)
	LogitBias bool
	// Scale multiplies all weights; 0 stands for 1. (DeepSeek-V3's route scale.)
	Scale float32
	// Bias, if there is one, is added to each expert's score for the choice alone, never to the
	// weights, and has no gradient. It goes with all scores but [SoftmaxAfter]. New copies it. Of
	// equal biased scores the lowest expert comes first. (DeepSeek-V3; torchtitan and ERNIE 4.5 with
	// [SoftmaxBefore].)
	Bias []float32
	// BiasRate is how far each step moves the bias towards an even load: see [Balancer]. 0 leaves
	// it. If Bias is nil it begins at 0. (DeepSeek-V3: 0.001.)
	BiasRate float32
	// BiasCentred takes the mean off each step of the bias, so that the mean of the biases stays
	// where it was, and an expert of exactly the mean load moves too. Without it, which is the
	// default, every expert moves by BiasRate up or down, or not at all: if more experts are
	// above the mean load than below it for long, or the other way round, the biases drift away
	// together. The choice depends on their differences alone, but a float32 far from 0 has few bits
	// left for those. (Off: DeepSeek-V3's rule as published, Megatron. On: torchtitan.)
	BiasCentred bool
	// CapacityFactor bounds what an expert takes of each group of tokens: ⌈T·K/E·CapacityFactor⌉ of
	// the group's T, unless Capacity says otherwise. 0 is no bound: nothing is dropped.
	CapacityFactor float64
	// Capacity says how the factor becomes a number of tokens.
	Capacity Capacity
	// Drop says which tokens an expert keeps when more chose it.
	Drop Drop
	// Losses lists the auxiliary losses.
	Losses []Loss
}

var _ Router = TopK{}

// New is described at [Router]. The parameters are a tensor "gate", Dim × Experts, drawn uniformly
// from ±1/√Dim, and with LogitBias another, "gate_bias", of Experts numbers.
func (r TopK) New(s Shape) (Gate, error) { return r.build(s, overrides{name: "TopK"}) }

// build makes a gate of r with some steps replaced.
func (r TopK) build(s Shape, p overrides) (Gate, error) {
	if err := errors.Join(slices.Concat(checkShape(s), r.faults(s, p.name), checkNoise(r.Losses, p.gaussian), p.faults)...); err != nil {
		return nil, err
	}
	if p.projection != nil && r.LogitBias {
		return nil, fmt.Errorf("router: %s has no LogitBias", p.name)
	}
	g := &tokenChoice{
		projection: p.projection, chooser: p.chooser, scoring: p.scoring, k: p.k,
		bias: p.bias, balancing: p.balancing, deviation: p.deviation,
		drop:   dropper{rule: r.Drop},
		losses: slices.Clone(r.Losses),
		dim:    s.Dim, experts: s.Experts, seed: s.Seed,
		capacity: r.Capacity, factor: r.CapacityFactor, scale: r.Scale, epsilon: float64(r.Epsilon),
	}
	if r.Scale == 0 {
		g.scale = 1
	}
	r.fill(g, s)
	g.renorm = r.Renormalize.resolve(g.scoring, r.K)
	g.need()
	return g, nil
}

// fill sets the steps that are not replaced.
func (r TopK) fill(g *tokenChoice, s Shape) {
	switch {
	case g.projection == nil && r.LogitBias:
		g.projection = newAffine(s)
	case g.projection == nil:
		g.projection = newLinear(s)
	}
	if g.scoring == nil {
		g.scoring = r.Score.scoring()
	}
	if g.bias == nil {
		g.bias = r.newBias(s)
	}
	if g.chooser == nil {
		g.chooser = best{bias: g.bias}
	}
	if g.balancing == nil && r.BiasRate != 0 {
		g.balancing = signUpdate{r.BiasRate, r.BiasCentred}
	}
	if g.balancing != nil {
		g.tally = make([]int64, g.balancing.size(s.Experts))
	}
	if g.k == nil {
		g.k = func(*Batch) int { return r.K }
	}
}

// newBias returns the bias of a new gate, or nil for none.
func (r TopK) newBias(s Shape) *bias {
	switch {
	case r.Bias != nil:
		return &bias{slices.Clone(r.Bias)}
	case r.BiasRate != 0:
		return &bias{make([]float32, s.Experts)}
	}
	return nil
}

// need finds out what the gate's steps read.
func (g *tokenChoice) need() {
	for _, l := range g.losses {
		g.needs = g.needs.or(l.term.needs())
	}
	g.needScores = g.needs.shares || g.scoring.forAll() || g.chooser.forAll()
}

// Bound returns the most of a token group's tokens that one of the experts takes; math.MaxInt where
// there is no bound.
func (r TopK) Bound(tokens, experts int, train bool) int {
	return r.Capacity.room(r.CapacityFactor, tokens, r.K, experts, train, nil)
}

// WeightSum returns the bounds of the sum of the weights of a token that no expert dropped.
func (r TopK) WeightSum(int) (least, most float64) {
	scale := float64(r.Scale)
	if scale == 0 {
		scale = 1
	}
	renormalized := r.Renormalize.resolve(r.Score.scoring(), r.K) != RenormalizeNever
	switch {
	case renormalized && r.Epsilon > 0:
		return 0, scale
	case renormalized || r.Score == SoftmaxAfter:
		return scale, scale
	case r.Score == SqrtSoftplus:
		return 0, math.Inf(1)
	case r.Score == Sigmoid:
		return 0, scale * float64(r.K)
	}
	return 0, scale
}

// faults returns all that is wrong with r for a gate of shape s.
func (r TopK) faults(s Shape, name string) []error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf("router: "+name+": "+format, args...))
		}
	}
	fault(r.K < 1 || r.K > max(s.Experts, 1), "K is %d, want 1 to the %d experts", r.K, s.Experts)
	fault(r.Score < 0 || int(r.Score) >= scores, "unknown score %d", int(r.Score))
	fault(r.Renormalize < 0 || int(r.Renormalize) >= renormalizes, "unknown renormalisation %d", int(r.Renormalize))
	fault(r.Drop < 0 || int(r.Drop) >= drops, "unknown drop rule %d", int(r.Drop))
	fault(!(r.Scale >= 0) || isInf(r.Scale), "scale is %v, want a finite number from 0", r.Scale)
	fault(!(r.CapacityFactor >= 0) || math.IsInf(r.CapacityFactor, 1), "capacity factor is %v, want a finite number from 0", r.CapacityFactor)
	fault(r.Bias != nil && len(r.Bias) != s.Experts, "bias of %d experts for %d", len(r.Bias), s.Experts)
	biased := r.Bias != nil || r.BiasRate != 0
	fault(biased && r.Score == SoftmaxAfter, "bias goes with the scores of all experts, not with %v", r.Score)
	fault(!(r.Epsilon >= 0) || isInf(r.Epsilon), "epsilon is %v, want a finite number from 0", r.Epsilon)
	fault(!(r.BiasRate >= 0) || isInf(r.BiasRate), "bias rate is %v, want a finite number from 0", r.BiasRate)
	fault(r.BiasCentred && r.BiasRate == 0, "the step of a bias without BiasRate has no mean to take off")
	fault(firstInfinite(r.Bias) >= 0, "bias is not finite at expert %d", firstInfinite(r.Bias))
	return slices.Concat(faults, r.Capacity.faults(), checkLosses(r.Losses))
}

func isInf(x float32) bool { return math.IsInf(float64(x), 0) }

// tooLarge returns an error if parameters of such shapes are more than a rank holds.
func tooLarge(shapes ...[]int) []error {
	if err := check.Elements(shapes...); err != nil {
		return []error{errtext.Errorf("router: %w", err)}
	}
	return nil
}

// checkShape returns what is wrong with a shape.
func checkShape(s Shape) []error {
	var faults []error
	if s.Dim < 1 || s.Dim > check.MaxSize {
		faults = append(faults, fmt.Errorf("router: tokens of %d columns, want 1 to %d", s.Dim, check.MaxSize))
	}
	if s.Experts < 1 || s.Experts > check.MaxSize {
		faults = append(faults, fmt.Errorf("router: %d experts, want 1 to %d", s.Experts, check.MaxSize))
	}
	if len(faults) == 0 {
		gate := []int{s.Dim, s.Experts}
		faults = tooLarge(gate, gate) // of which some routers have two
	}
	return faults
}
