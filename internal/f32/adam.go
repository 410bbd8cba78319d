package f32

import "math"

// AdamStep is the numbers that all elements of an update by Adam share.
type AdamStep struct {
	// Beta1 and Rest1 are the shares of the old first moment and of the gradient in the new one;
	// Beta2 and Rest2 those of the second moment and the gradient's square.
	Beta1, Rest1, Beta2, Rest2 float32
	// Scale1 and Scale2 are the corrections 1/(1-β^t) of the two moments' bias.
	Scale1, Scale2 float32
	// Eps is added to the root of the second moment.
	Eps float32
	// LR is the learning rate.
	LR float32
	// Keep is the share of a parameter that weight decay leaves.
	Keep float32
}

// Update changes value, and the moments m and v, by grad:
//
//	m = Beta1·m + Rest1·g
//	v = Beta2·v + Rest2·(g·g)
//	value = Keep·value - LR·(Scale1·m) / (√(Scale2·v) + Eps)
func (c *AdamStep) Update(value, grad, m, v []float32) {
	sameLen(len(value), len(grad), len(m), len(v))
	adam(c, value, grad, m, v)
}

func adamGeneric(c *AdamStep, value, grad, m, v []float32) {
	for i, w := range value {
		g := grad[i]
		m1 := float32(c.Beta1*m[i]) + float32(c.Rest1*g)
		v1 := float32(c.Beta2*v[i]) + float32(c.Rest2*float32(g*g))
		m[i], v[i] = m1, v1
		root := float32(math.Sqrt(float64(float32(v1 * c.Scale2))))
		value[i] = float32(w*c.Keep) - float32(c.LR*float32(m1*c.Scale1))/(root+c.Eps)
	}
}
