package expert

import (
	"errors"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/param"
)

// Optimizer turns a gradient into a change of the parameters. One that can be set wrongly
// implements [Validator] too. experttest.RunOptimizer checks implementations.
type Optimizer interface {
	// Update changes the elements of p.Value by grad, which is laid out as p.Value and must not be
	// changed or kept. The optimizer keeps its state by the pointer p: the layer may replace the
	// slice p.Value between updates.
	Update(p *param.Set, grad []float32)
}

// Validator is an optimizer that can check its settings beforehand. A layer's Step asks before it
// sends or changes anything; an error then fails the step on every rank, and parameters stay as
// they are.
type Validator interface {
	Optimizer
	// Validate returns what is wrong with the settings, or nil. It changes nothing. After an error,
	// Update may panic.
	Validate() error
}

// settings collects what is wrong with the fields of an optimizer.
type settings struct {
	name   string
	faults []error
}

// missing notes a field that a literal has left at 0, if the optimizer cannot know whether 0 was
// meant.
func (s *settings) missing(field string, value float32) {
	if value == 0 {
		s.faults = append(s.faults, fmt.Errorf(
			"expert: %s.%s is not set: make it with expert.New%s, which sets the usual values and takes 0 for 0",
			s.name, field, s.name))
	}
}

// within notes a field that is not in [least, most], NaN included.
func (s *settings) within(field string, value, least, most float32) {
	if !(value >= least && value <= most) {
		s.faults = append(s.faults, fmt.Errorf(
			"expert: %s.%s is %v, must be %v to %v", s.name, field, value, least, most))
	}
}

// from0 notes a field that is not a finite number from 0 on.
func (s *settings) from0(field string, value float32) {
	if !(value >= 0 && value <= math.MaxFloat32) {
		s.faults = append(s.faults, fmt.Errorf(
			"expert: %s.%s is %v, must be a finite number of at least 0", s.name, field, value))
	}
}

func (s *settings) err() error { return errors.Join(s.faults...) }

// mustValidate panics if an optimizer is used although its settings are wrong.
func mustValidate(o Validator) {
	if err := o.Validate(); err != nil {
		panic(err.Error())
	}
}

// below1 is the largest float32 below 1.
const below1 = 1 - 0x1p-24

func checkGrad(p *param.Set, grad []float32) {
	if len(grad) != len(p.Value) {
		panic(fmt.Sprintf("expert: gradient of %d elements for %d parameters", len(grad), len(p.Value)))
	}
}
