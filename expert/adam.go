package expert

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Adam is the optimiser of Kingma and Ba 2015 with the decoupled weight decay of Loshchilov and Hutter 2019 (AdamW).
// The zero value works. An Adam must not be copied after its first update and is not safe for concurrent use.
//
// An update of element i at its step t, all in float32 with each operation rounded, is
//
//	m = Beta1·m + (1-Beta1)·g
//	v = Beta2·v + (1-Beta2)·g²
//	p = p - LR·WeightDecay·p - LR·(m/(1-Beta1^t)) / (√(v/(1-Beta2^t)) + Eps)
type Adam struct {
	// LR is the learning rate; 0 means 0.001. It may be changed between updates.
	LR float32
	// Beta1 and Beta2 are the decay rates of the two moments; 0 means 0.9 and 0.999.
	Beta1, Beta2 float32
	// Eps is added to the root of the second moment; 0 means 1e-8.
	Eps float32
	// WeightDecay is the share of a parameter, times LR, that each update takes away; 0 means none.
	WeightDecay float32

	state map[*Params]*adamState
}

var _ Optimizer = (*Adam)(nil)

type adamState struct {
	m, v         []float32
	beta1, beta2 float64 // the decay rates to the power of the number of updates
}

func orDefault(v, def float32) float32 {
	if v == 0 {
		return def
	}
	return v
}

// Update implements [Optimizer]. It panics if grad has another length than p.Value.
func (a *Adam) Update(p *Params, grad []float32) {
	checkGrad(p, grad)
	s := a.of(p)
	beta1, beta2 := orDefault(a.Beta1, 0.9), orDefault(a.Beta2, 0.999)
	s.beta1 *= float64(beta1)
	s.beta2 *= float64(beta2)
	lr := orDefault(a.LR, 1e-3)
	c := f32.AdamStep{
		Beta1: beta1, Rest1: 1 - beta1, Beta2: beta2, Rest2: 1 - beta2,
		Scale1: float32(1 / (1 - s.beta1)), Scale2: float32(1 / (1 - s.beta2)),
		Eps: orDefault(a.Eps, 1e-8), LR: lr, Keep: 1 - float32(lr*a.WeightDecay),
	}
	c.Update(p.Value, grad, s.m, s.v)
}

func (a *Adam) of(p *Params) *adamState {
	if s := a.state[p]; s != nil {
		return s
	}
	if a.state == nil {
		a.state = make(map[*Params]*adamState)
	}
	n := len(p.Value)
	s := &adamState{m: make([]float32, n), v: make([]float32, n), beta1: 1, beta2: 1}
	a.state[p] = s
	return s
}

func checkGrad(p *Params, grad []float32) {
	if len(grad) != len(p.Value) {
		panic(fmt.Sprintf("expert: gradient of %d elements for %d parameters", len(grad), len(p.Value)))
	}
}
