package expert

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Activation names the function between the two products of an [FFN].
type Activation int

const (
	// ReLU is max(x, 0).
	ReLU Activation = iota
	// GELU is x·Φ(x), Φ the standard normal distribution: the exact form by erf, not the one by
	// tanh (Hendrycks and Gimpel 2016).
	GELU
)

// String returns the function's name.
func (a Activation) String() string {
	switch a {
	case ReLU:
		return "relu"
	case GELU:
		return "gelu"
	}
	return fmt.Sprintf("Activation(%d)", int(a))
}

// apply sets dst to the function of x.
func (a Activation) apply(dst, x []float32) {
	if a == GELU {
		f32.GELU(dst, x)
		return
	}
	f32.ReLU(dst, x)
}

// chain sets dst to dy times the derivative at x.
func (a Activation) chain(dst, x, dy []float32) {
	if a == GELU {
		f32.GELUGrad(dst, x, dy)
		return
	}
	f32.ReLUGrad(dst, x, dy)
}
