package expert

import "github.com/switchyard-moe/switchyard/param"

// Stateful is an optimizer whose state can be saved and loaded. experttest.RunOptimizer checks
// implementations. A checkpoint of a layer whose optimizer is not Stateful is an error, unless the
// caller says that the optimizer keeps nothing.
type Stateful interface {
	Optimizer
	// State returns what the optimizer keeps for p, in its own memory: writing into it changes the
	// next update. What is not there yet, as before the first update, it makes, as if p had never
	// been updated. The same settings give the same names in the same order.
	State(p *param.Set) State
	// Holds tells whether the optimizer keeps something for p already, as after an update or a call
	// of State, if there is anything to keep. It makes nothing. By it a checkpoint leaves out sets
	// that are frozen from the start, and saves those that were trained before they were frozen.
	Holds(p *param.Set) bool
}

// State is what an optimizer keeps for one set of parameters.
type State struct {
	// Moments are vectors laid out as the set's Value, or codes of such.
	Moments []Moment
	// Scalars are numbers that hold for the whole set.
	Scalars []Scalar
}

// Moment is a vector laid out as the values of a set of parameters, or bytes that stand for one.
type Moment struct {
	// Name is unique in the state: "m". That of bytes tells what they mean: "m.fp8".
	Name string
	// Data are the vector's numbers; nil if Codes stand for it.
	Data []float32
	// Codes are what is kept of the set's tensors one after the other; of a set of kind
	// [param.Expert], of each expert's part of a tensor one after the other. So experts can be moved
	// between sets.
	Codes []byte
	// Size is the number of bytes of a tensor, or an expert's part, of n elements in Codes.
	Size func(n int) int
}

// Scalar is one number of an optimizer's state.
type Scalar struct {
	// Name is unique in the state: "beta1_power".
	Name  string
	Value *float64
}
