package router

import "fmt"

// Switch sends each token to one expert, the best by softmax over all of them, and weighs its
// answer by that softmax: a linear gate that sees its tokens jittered in training. (Fedus et al.
// 2021.)
type Switch struct {
	// Jitter multiplies, in training, each element the gate sees by a number drawn evenly from 1 −
	// Jitter to 1 + Jitter; 0 is none. The paper has 0.01. See [JitterTokens].
	Jitter float32
	// CapacityFactor, Capacity and Drop are those of [TopK].
	CapacityFactor float64
	Capacity       Capacity
	Drop           Drop
	// Losses lists the auxiliary losses. The paper's is SwitchLoss(0.01).
	Losses []Loss
}

var _ Router = Switch{}

// New is described at [Router].
func (r Switch) New(s Shape) (Gate, error) {
	p := overrides{name: "Switch"}
	if !(r.Jitter >= 0 && r.Jitter <= 1) {
		p.faults = append(p.faults, fmt.Errorf("router: Switch: jitter is %v, want 0 to 1", r.Jitter))
	}
	if r.Jitter != 0 && len(checkShape(s)) == 0 {
		p.projection = jitteredTokens{newLinear(s), float64(r.Jitter)}
	}
	return r.topK().build(s, p)
}

func (r Switch) topK() TopK {
	return TopK{
		K: 1, Score: SoftmaxBefore, Losses: r.Losses,
		CapacityFactor: r.CapacityFactor, Capacity: r.Capacity, Drop: r.Drop,
	}
}

// WeightSum is described at [TopK.WeightSum].
func (r Switch) WeightSum(experts int) (least, most float64) { return r.topK().WeightSum(experts) }

// Bound is described at [TopK.Bound].
func (r Switch) Bound(tokens, experts int, train bool) int {
	return r.topK().Bound(tokens, experts, train)
}
