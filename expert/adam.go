package expert

import (
	"errors"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/moments"
	"github.com/switchyard-moe/switchyard/param"
)

// Adam is the optimizer of Kingma and Ba 2015 with the decoupled weight decay of Loshchilov and
// Hutter 2019 (AdamW). [NewAdam] makes one with the usual settings, each of which can be changed,
// also to 0. A literal must set LR, Beta1, Beta2 and Eps: [Adam.Validate] reports a missing one. An
// Adam must not be copied after its first update and is not safe for concurrent use.
//
// An update of element i at its step t, all in float32 with each operation rounded, is
//
//	m = Beta1·m + (1-Beta1)·g
//	v = Beta2·v + (1-Beta2)·g²
//	p = p - LR·WeightDecay·p - LR·(m/(1-Beta1^t)) / (√(v/(1-Beta2^t)) + Eps)
type Adam struct {
	// LR is the learning rate, at least 0. It may be changed between updates; at 0 the moments move
	// and the parameters do not.
	LR float32
	// Beta1 and Beta2 are the decay rates of the two moments, from 0 to below 1.
	Beta1, Beta2 float32
	// Eps is added to the root of the second moment. It is above 0, since an element whose
	// gradients were all 0 is divided by it.
	Eps float32
	// WeightDecay is the share of a parameter, times LR, that each update takes away; 0 means none.
	WeightDecay float32
	// Groups give some tensors another learning rate or weight decay; the first that a tensor is in
	// counts.
	Groups []ParamGroup
	// Moments is how m and v are kept between updates. It may be changed: what there is of a set is
	// rewritten at the next update or call of State. A checkpoint is loaded into moments of the form
	// that it was saved in.
	Moments Moments

	complete bool // made by NewAdam or used before: zeros are meant
	state    map[*param.Set]*adamState
}

var (
	_ Validator = (*Adam)(nil)
	_ Stateful  = (*Adam)(nil)
)

// NewAdam returns an Adam of learning rate lr with Beta1 0.9, Beta2 0.999, Eps 1e-8 and no weight
// decay.
func NewAdam(lr float32) *Adam {
	return &Adam{LR: lr, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, complete: true}
}

type adamState struct {
	kept         Moments
	m, v         vector
	beta1, beta2 float64 // the products of the decay rates of all updates
	updates      float64 // since the moments are in fewer bits than float32's
}

// Validate implements [Validator]: it reports NaN, infinite and negative settings, and what a
// literal has not set.
func (a *Adam) Validate() error {
	if a == nil {
		return errors.New("expert: a nil Adam")
	}
	s := settings{name: "Adam"}
	if !a.complete {
		s.missing("LR", a.LR)
		s.missing("Beta1", a.Beta1)
		s.missing("Beta2", a.Beta2)
		s.missing("Eps", a.Eps)
	}
	s.from0("LR", a.LR)
	s.within("Beta1", a.Beta1, 0, below1)
	s.within("Beta2", a.Beta2, 0, below1)
	if a.complete || a.Eps != 0 {
		s.within("Eps", a.Eps, math.SmallestNonzeroFloat32, math.MaxFloat32)
	}
	s.from0("WeightDecay", a.WeightDecay)
	s.groups(a.Groups, a.LR)
	s.moments(a.Moments)
	return s.err()
}

// String lists the settings.
func (a *Adam) String() string {
	return fmt.Sprintf("Adam{LR:%v Beta1:%v Beta2:%v Eps:%v WeightDecay:%v%s%s}",
		a.LR, a.Beta1, a.Beta2, a.Eps, a.WeightDecay, groupsText(a.Groups), momentsText(a.Moments))
}

// Update implements [Optimizer]. It panics if grad has another length than p.Value, or if Validate
// returns an error.
func (a *Adam) Update(p *param.Set, grad []float32) {
	checkGrad(p, grad)
	mustValidate(a)
	a.complete = true
	s := a.of(p)
	s.beta1 *= float64(a.Beta1)
	s.beta2 *= float64(a.Beta2)
	c := f32.AdamStep{
		Beta1: a.Beta1, Rest1: 1 - a.Beta1, Beta2: a.Beta2, Rest2: 1 - a.Beta2,
		Scale1: float32(1 / (1 - s.beta1)), Scale2: float32(1 / (1 - s.beta2)),
		Eps: a.Eps,
	}
	if a.Moments != Float32Moments {
		a.updateBlocks(p, grad, s, &c)
		return
	}
	rates{a.LR, a.WeightDecay}.runs(p, a.Groups, func(from, to int, of rates) {
		c.LR, c.Keep = of.lr, of.keep()
		c.Update(p.Value[from:to], grad[from:to], s.m.data[from:to], s.v.data[from:to])
	})
}

// updateBlocks reads, changes and writes the moments of one block after the other.
func (a *Adam) updateBlocks(p *param.Set, grad []float32, s *adamState, c *f32.AdamStep) {
	first, second := cursor{vector: &s.m}, cursor{vector: &s.v}
	all := rates{a.LR, a.WeightDecay}
	s.updates++
	seed := math.Float64bits(s.updates)
	var roomM, roomV [moments.Block]float32
	eachBlock(p, func(b block) {
		of := all.of(a.Groups, p.Kind, b.tensor)
		c.LR, c.Keep = of.lr, of.keep()
		m, v := roomM[:b.to-b.from], roomV[:b.to-b.from]
		first.get(m)
		second.get(v)
		c.Update(p.Value[b.from:b.to], grad[b.from:b.to], m, v)
		first.set(m)
		second.setStochastic(v, seed+b.id)
	})
}

// State implements [Stateful]: the moments "m" and "v", with the name of their format if they are
// kept in fewer bits, as in "m.fp8"; and the scalars "beta1_power" and "beta2_power", the products
// of Beta1 and of Beta2 over all updates, from which come the corrections of the moments' bias.
// With moments in fewer bits "updates" is the number of updates, by which they are rounded.
func (a *Adam) State(p *param.Set) State {
	s := a.of(p)
	state := State{
		Moments: []Moment{s.m.moment("m"), s.v.moment("v")},
		Scalars: []Scalar{{Name: "beta1_power", Value: &s.beta1}, {Name: "beta2_power", Value: &s.beta2}},
	}
	if a.Moments != Float32Moments {
		state.Scalars = append(state.Scalars, Scalar{Name: "updates", Value: &s.updates})
	}
	return state
}

// Holds implements [Stateful].
func (a *Adam) Holds(p *param.Set) bool { return a.state[p] != nil }

// of returns what is kept of p, in the form that Moments asks for.
func (a *Adam) of(p *param.Set) *adamState {
	first, second := a.Moments.first(), a.Moments.second()
	s := a.state[p]
	switch {
	case s == nil:
		if a.state == nil {
			a.state = make(map[*param.Set]*adamState)
		}
		s = &adamState{beta1: 1, beta2: 1, m: newVector(p, a.Moments, first), v: newVector(p, a.Moments, second)}
		a.state[p] = s
	case s.kept != a.Moments:
		s.m, s.v = s.m.converted(p, a.Moments, first), s.v.converted(p, a.Moments, second)
	}
	s.kept = a.Moments
	return s
}
