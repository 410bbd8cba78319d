package expert

import (
	"fmt"
	"math"
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
	c := adamStep{
		beta1: beta1, rest1: 1 - beta1, beta2: beta2, rest2: 1 - beta2,
		scale1: float32(1 / (1 - s.beta1)), scale2: float32(1 / (1 - s.beta2)),
		eps: orDefault(a.Eps, 1e-8), lr: lr, keep: 1 - float32(lr*a.WeightDecay),
	}
	c.update(p.Value, grad, s.m, s.v)
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

// adamStep is the numbers that all elements of an update share.
type adamStep struct {
	beta1, rest1, beta2, rest2, scale1, scale2, eps, lr, keep float32
}

func (c *adamStep) update(value, grad, m, v []float32) {
	m, v, grad = m[:len(value)], v[:len(value)], grad[:len(value)]
	for i, w := range value {
		g := grad[i]
		m1 := float32(c.beta1*m[i]) + float32(c.rest1*g)
		v1 := float32(c.beta2*v[i]) + float32(c.rest2*float32(g*g))
		m[i], v[i] = m1, v1
		root := float32(math.Sqrt(float64(float32(v1 * c.scale2))))
		value[i] = float32(w*c.keep) - float32(c.lr*float32(m1*c.scale1))/(root+c.eps)
	}
}

func checkGrad(p *Params, grad []float32) {
	if len(grad) != len(p.Value) {
		panic(fmt.Sprintf("expert: gradient of %d elements for %d parameters", len(grad), len(p.Value)))
	}
}
