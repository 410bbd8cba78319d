package param

import "fmt"

// Kind says which part of a model parameters belong to. A layer sets it for the sets that it
// trains. In sets that no layer trains it is what their maker sets, or Dense.
type Kind int

const (
	// Dense parameters belong to no mixture-of-experts layer: embeddings, attention. It is the zero
	// value.
	Dense Kind = iota
	// Gate parameters are those of a layer's router. Every rank holds the same values.
	Gate
	// Expert parameters are those of the routed experts that a rank hosts. The first dimension of
	// each tensor is the expert. Only ranks with copies of the same experts hold the same values.
	Expert
	// Shared parameters are those of the shared expert. Every rank holds the same values.
	Shared
	// Gain parameters are the learned factors of compression. Every rank holds the same values.
	Gain
	// Bias is the bias by which a gate balances its load. It has no gradient: a layer lists it
	// among its tensors, and no optimizer is given it.
	Bias
)

var kindNames = [...]string{"dense", "gate", "expert", "shared", "gain", "bias"}

// String returns the kind's name in lower case, as in "gate".
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return kindNames[k]
}
