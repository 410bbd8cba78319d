package expert

// SGD is stochastic gradient descent with momentum: v = Momentum·v + g, p = p - LR·WeightDecay·p - LR·v. The zero value
// works. An SGD must not be copied after its first update and is not safe for concurrent use.
type SGD struct {
	// LR is the learning rate; 0 means 0.01. It may be changed between updates.
	LR float32
	// Momentum is the decay rate of the sum of past gradients; 0 means that none is kept.
	Momentum float32
	// WeightDecay is the share of a parameter, times LR, that each update takes away; 0 means none.
	WeightDecay float32

	state map[*Params][]float32
}

var _ Optimizer = (*SGD)(nil)

// Update implements [Optimizer]. It panics if grad has another length than p.Value.
func (s *SGD) Update(p *Params, grad []float32) {
	checkGrad(p, grad)
	lr := orDefault(s.LR, 1e-2)
	keep := 1 - float32(lr*s.WeightDecay)
	step := s.velocity(p, grad)
	for i, w := range p.Value {
		p.Value[i] = float32(w*keep) - float32(lr*step[i])
	}
}

// velocity returns the direction of the update: grad itself without momentum.
func (s *SGD) velocity(p *Params, grad []float32) []float32 {
	if s.Momentum == 0 {
		return grad
	}
	v := s.state[p]
	if v == nil {
		if s.state == nil {
			s.state = make(map[*Params][]float32)
		}
		v = make([]float32, len(grad))
		s.state[p] = v
	}
	for i, g := range grad {
		v[i] = float32(s.Momentum*v[i]) + g
	}
	return v
}
