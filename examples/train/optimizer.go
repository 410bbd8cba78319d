package main

import (
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
)

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
		s.Momentum, s.WeightDecay, s.Moments = float32(o.momentum), float32(o.decay), o.momentsKind()
		return optimizer{s, &s.LR}
	}
	a := expert.NewAdam(float32(o.lr))
	a.Beta2, a.WeightDecay, a.Moments = 0.99, float32(o.decay), o.momentsKind()
	return optimizer{a, &a.LR}
}

// setRate sets the learning rate of the updates that follow.
func (o optimizer) setRate(rate float32) error {
	*o.rate = rate
	return o.Validate()
}

// momentsNames are the choices of -moments.
func momentsNames() (names []string) {
	for m := expert.Float32Moments; m <= expert.Int4Moments; m++ {
		names = append(names, m.String())
	}
	return names
}

// momentsKind is what -moments asks for.
func (o options) momentsKind() expert.Moments {
	return expert.Moments(slices.Index(momentsNames(), o.moments))
}

// momentBytes is what the optimizer keeps for n parameters.
func (o options) momentBytes(n int) int64 {
	moments := 2
	if o.optimizer == sgdOptimizer {
		if moments = 1; o.momentum == 0 {
			moments = 0
		}
	}
	return int64(moments * o.momentsKind().Bytes(n))
}

// kept counts this rank's parameters, and the bytes that the optimizer keeps for them.
func (j *job) kept() (parameters, bytes int, err error) {
	parts, err := j.parts()
	for _, p := range parts {
		for _, e := range p.State.Entries {
			if !strings.HasPrefix(e.Name, "optimizer.") {
				if data, ok := e.Data.([]float32); ok && e.Role == param.Parameter {
					parameters += len(data)
				}
				continue
			}
			switch data := e.Data.(type) {
			case []float32:
				bytes += 4 * len(data)
			case []byte:
				bytes += len(data)
			}
		}
	}
	return parameters, bytes, err
}
