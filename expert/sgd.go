package expert

import (
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/moments"
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
	// Moments is how v is kept between updates. It may be changed: what there is of a set is
	// rewritten at the next update or call of State.
	Moments Moments

	complete bool // made by NewSGD or used before: an LR of 0 is meant
	state    map[*param.Set]*velocity
}

// velocity is the sum of past gradients of a set.
type velocity struct {
	kept Moments
	v    vector
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
	of.moments(s.Moments)
	return of.err()
}

// String lists the settings.
func (s *SGD) String() string {
	return fmt.Sprintf("SGD{LR:%v Momentum:%v WeightDecay:%v%s%s}",
		s.LR, s.Momentum, s.WeightDecay, groupsText(s.Groups), momentsText(s.Moments))
}

// Update implements [Optimizer]. It panics if grad has another length than p.Value, or if Validate
// returns an error.
func (s *SGD) Update(p *param.Set, grad []float32) {
	checkGrad(p, grad)
	mustValidate(s)
	s.complete = true
	if s.Momentum != 0 && s.Moments != Float32Moments {
		s.updateBlocks(p, grad)
		return
	}
	step := grad
	if s.Momentum != 0 {
		step = s.of(p).v.data
		s.accelerate(step, grad)
	}
	rates{s.LR, s.WeightDecay}.runs(p, s.Groups, func(from, to int, of rates) {
		descend(p.Value[from:to], step[from:to], of)
	})
}

// updateBlocks reads, changes and writes the velocity of one block after the other.
func (s *SGD) updateBlocks(p *param.Set, grad []float32) {
	kept, all := cursor{vector: &s.of(p).v}, rates{s.LR, s.WeightDecay}
	var room [moments.Block]float32
	eachBlock(p, func(b block) {
		v := room[:b.to-b.from]
		kept.get(v)
		s.accelerate(v, grad[b.from:b.to])
		descend(p.Value[b.from:b.to], v, all.of(s.Groups, p.Kind, b.tensor))
		kept.set(v)
	})
}

// accelerate adds a gradient to a velocity.
func (s *SGD) accelerate(v, grad []float32) {
	for i, g := range grad {
		v[i] = float32(s.Momentum*v[i]) + g
	}
}

// descend moves values against a direction of the same length.
func descend(value, step []float32, of rates) {
	keep := of.keep()
	for i, w := range value {
		value[i] = float32(w*keep) - float32(of.lr*step[i])
	}
}

// State implements [Stateful]: the moment "v", the sum of past gradients, with the name of its
// format if it is kept in fewer bits, as in "v.fp8"; nothing without Momentum.
func (s *SGD) State(p *param.Set) State {
	if s.Momentum == 0 {
		return State{}
	}
	return State{Moments: []Moment{s.of(p).v.moment("v")}}
}

// Holds implements [Stateful].
func (s *SGD) Holds(p *param.Set) bool { return s.Momentum != 0 && s.state[p] != nil }

// of returns the sum of past gradients of p, in the form that Moments asks for.
func (s *SGD) of(p *param.Set) *velocity {
	kept := s.state[p]
	switch {
	case kept == nil:
		if s.state == nil {
			s.state = make(map[*param.Set]*velocity)
		}
		kept = &velocity{v: newVector(p, s.Moments, s.Moments.first())}
		s.state[p] = kept
	case kept.kept != s.Moments:
		kept.v = kept.v.converted(p, s.Moments, s.Moments.first())
	}
	kept.kept = s.Moments
	return kept
}
