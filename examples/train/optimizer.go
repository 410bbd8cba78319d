package main

import "github.com/switchyard-moe/switchyard/expert"

// The names of -optimizer.
const (
	adamwOptimizer = "adamw"
	sgdOptimizer   = "sgd"
)

// optimizer is the optimizer of all parameters, and where its learning rate stands.
type optimizer struct {
	expert.Validator
	rate *float32
}

// newOptimizer makes what -optimizer asks for.
func (o options) newOptimizer() optimizer {
	if o.optimizer == sgdOptimizer {
		s := expert.NewSGD(float32(o.lr))
		s.Momentum, s.WeightDecay = float32(o.momentum), float32(o.decay)
		return optimizer{s, &s.LR}
	}
	a := expert.NewAdam(float32(o.lr))
	a.Beta2, a.WeightDecay = 0.99, float32(o.decay)
	return optimizer{a, &a.LR}
}

// setRate sets the learning rate of the updates that follow.
func (o optimizer) setRate(rate float32) error {
	*o.rate = rate
	return o.Validate()
}
