package expert

import (
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/param"
)

// SGD is stochastic gradient descent with momentum: v = Momentum·v + g, p = p - LR·WeightDecay·p -
// LR·v. [NewSGD] makes one; a literal must set LR: [SGD.Validate] reports one that does not. An
// SGD must not be copied after its first update and is not safe for concurrent use.
type SGD struct {
	// LR is the learning rate, at least 0. It may be changed between updates; at 0 the velocity
	// moves and the parameters do not.
	LR float32
	// Momentum is the decay rate of the sum of past gradients, from 0 to 1; 0 means that none is
	// kept.
	Momentum float32
	// WeightDecay is the share of a parameter, times LR, that each update takes away; 0 means none.
	WeightDecay float32
	// Groups give some tensors another learning rate or weight decay; the first that a tensor is in
	// counts.
	Groups []ParamGroup

	complete bool // made by NewSGD or used before: an LR of 0 is meant
	state    map[*param.Set][]float32
}

var (
	_ Validator = (*SGD)(nil)
	_ Stateful  = (*SGD)(nil)
)

// NewSGD returns an SGD of learning rate lr without momentum and weight decay.
func NewSGD(lr float32) *SGD { return &SGD{LR: lr, complete: true} }

// Validate implements [Validator]: it reports NaN, infinite and negative settings, and a literal
// without LR.
func (s *SGD) Validate() error {
	if s == nil {
		return errors.New("expert: a nil SGD")
	}
	of := settings{name: "SGD"}
	if !s.complete {
		of.missing("LR", s.LR)
	}
	of.from0("LR", s.LR)
	of.within("Momentum", s.Momentum, 0, 1)
	of.from0("WeightDecay", s.WeightDecay)
	of.groups(s.Groups, s.LR)
	return of.err()
}

// String lists the settings.
func (s *SGD) String() string {
	return fmt.Sprintf("SGD{LR:%v Momentum:%v WeightDecay:%v%s}",
		s.LR, s.Momentum, s.WeightDecay, groupsText(s.Groups))
}

// Update implements [Optimizer]. It panics if grad has another length than p.Value, or if Validate
// returns an error.
func (s *SGD) Update(p *param.Set, grad []float32) {
	checkGrad(p, grad)
	mustValidate(s)
	s.complete = true
	step := s.velocity(p, grad)
	rates{s.LR, s.WeightDecay}.runs(p, s.Groups, func(from, to int, of rates) {
		descend(p.Value[from:to], step[from:to], of)
	})
}

// descend moves values against a direction of the same length.
func descend(value, step []float32, of rates) {
	keep := of.keep()
	for i, w := range value {
		value[i] = float32(w*keep) - float32(of.lr*step[i])
	}
}

// State implements [Stateful]: the moment "v", the sum of past gradients; nothing without Momentum.
func (s *SGD) State(p *param.Set) State {
	if s.Momentum == 0 {
		return State{}
	}
	return State{Moments: []Moment{{Name: "v", Data: s.of(p)}}}
}

// Holds implements [Stateful].
func (s *SGD) Holds(p *param.Set) bool { return s.Momentum != 0 && s.state[p] != nil }

// velocity returns the direction of the update: grad itself without momentum.
func (s *SGD) velocity(p *param.Set, grad []float32) []float32 {
	if s.Momentum == 0 {
		return grad
	}
	v := s.of(p)
	for i, g := range grad {
		v[i] = float32(s.Momentum*v[i]) + g
	}
	return v
}

// of returns the sum of past gradients of p.
func (s *SGD) of(p *param.Set) []float32 {
	if v := s.state[p]; v != nil {
		return v
	}
	if s.state == nil {
		s.state = make(map[*param.Set][]float32)
	}
	v := make([]float32, len(p.Value))
	s.state[p] = v
	return v
}
