package router

import (
	"fmt"
	"math"
)

// SparseMixer is the router of Phi-3.5-MoE as it evaluates: a token gets the two experts with the
// largest logits, and the weight of each is a softmax over the logits near its own. Near the first
// expert's logit m is z if (m − z) / max(|z|, m) ≤ 2·Threshold; near the second one's alike,
// without the first expert. So most weights are 1, and they sum to more than 1. (Liu et al. 2023
// sample the experts in training, and have a gradient of their own for that; here training is as
// evaluation.)
type SparseMixer struct {
	// Threshold says how near; it is from 0 to ½. (Phi-3.5-MoE: 0.01, its router_jitter_noise.)
	Threshold float32
	// Losses lists the auxiliary losses.
	Losses []Loss
}

var (
	_ BoundedRouter  = SparseMixer{}
	_ WeightedRouter = SparseMixer{}
)

// New is described at [Router].
func (r SparseMixer) New(s Shape) (Gate, error) {
	p := overrides{name: "SparseMixer", scoring: nearby{2 * r.Threshold}}
	if !(r.Threshold >= 0 && r.Threshold <= 0.5) {
		p.faults = append(p.faults, fmt.Errorf("router: SparseMixer: threshold is %v, want 0 to 0.5", r.Threshold))
	}
	top := TopK{K: 2, Score: SoftmaxBefore, Renormalize: RenormalizeNever, Losses: r.Losses}
	return top.build(s, p)
}

// Bound is described at [BoundedRouter]: nothing is dropped.
func (SparseMixer) Bound(int, int, bool) int { return math.MaxInt }

// WeightSum is described at [WeightedRouter].
func (SparseMixer) WeightSum(int) (least, most float64) { return 0, 2 }

// nearby is the scoring of SparseMixer.
type nearby struct{ distance float32 }

func (nearby) forAll() bool    { return false }
func (nearby) normalize() bool { return false }
func (nearby) rate() float32   { return 1 }

func (nearby) score(dst, logits []float32) { softmax(dst, logits) }

func (n nearby) weigh(raw []float32, t token) {
	for j := range t.chosen {
		raw[j] = n.shares(t, j)[t.chosen[j]]
	}
}

// shares fills the token's scratch with the softmax over the logits near that of its choice j; all
// others have 0.
func (n nearby) shares(t token, j int) []float32 {
	shares, top := t.scratch[:len(t.logits)], t.logits[t.chosen[j]]
	for e, z := range t.logits {
		size := max(float32(math.Abs(float64(z))), top)
		if shares[e] = z; j > 0 && int32(e) == t.chosen[0] || !(top-z <= n.distance*size) {
			shares[e] = float32(math.Inf(-1))
		}
	}
	softmax(shares, shares)
	return shares
}

func (n nearby) backward(dlogits, draw, dshare []float32, t token) {
	for j, chosen := range t.chosen {
		slope := float64(draw[j]) * float64(t.raw[j])
		for e, share := range n.shares(t, j) {
			dlogits[e] -= float32(slope * float64(share))
		}
		dlogits[chosen] += float32(slope)
	}
	if dshare != nil {
		softmaxBackward(dlogits, t.scores, dshare)
	}
}
