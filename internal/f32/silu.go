package f32

// siluLimit is where a sigmoid has long become 0 or 1 to float32's precision beside x; clamping
// there gives the limits at ±Inf instead of Inf·0 and keeps e^x finite.
const siluLimit = 87

func sigmoid(x float32) float32 { return 1 / (1 + exp(-x)) }

func silu(x float32) float32 {
	if x < -siluLimit {
		x = -siluLimit
	}
	return x * sigmoid(x)
}

// siluSlope returns silu's value and derivative s·(1 + x·(1-s)), s the sigmoid of x. It takes 1-s
// as e^-x·s, which keeps its precision where s is near one.
func siluSlope(x float32) (value, slope float32) {
	if x < -siluLimit {
		x = -siluLimit
	}
	e := exp(-x)
	s := 1 / (1 + e)
	mid := x
	if mid > siluLimit {
		mid = siluLimit
	}
	return x * s, s * (1 + float32(mid*float32(e*s)))
}

// Sigmoid sets dst[i] = 1/(1+e^-x[i]).
func Sigmoid(dst, x []float32) {
	sameLen(len(dst), len(x))
	for i, v := range x {
		dst[i] = sigmoid(v)
	}
}

// SiLU sets dst[i] = x[i]/(1+e^-x[i]), also named swish.
func SiLU(dst, x []float32) {
	sameLen(len(dst), len(x))
	siluVec(dst, x)
}

// SiLUGrad sets dst[i] = dy[i]·SiLU'(x[i]).
func SiLUGrad(dst, x, dy []float32) {
	sameLen(len(dst), len(x), len(dy))
	siluGradVec(dst, x, dy)
}

// SwiGLU sets dst[i] = SiLU(gate[i])·up[i].
func SwiGLU(dst, gate, up []float32) {
	sameLen(len(dst), len(gate), len(up))
	swiglu(dst, gate, up)
}

// SwiGLUGrad is the backward pass of [SwiGLU]: for the gradient dy of its result it sets dGate[i] =
// dy[i]·up[i]·SiLU'(gate[i]) and dUp[i] = dy[i]·SiLU(gate[i]). dGate may be gate, dUp may be up,
// and either may be dy.
func SwiGLUGrad(dGate, dUp, gate, up, dy []float32) {
	sameLen(len(dGate), len(dUp), len(gate), len(up), len(dy))
	swigluGrad(dGate, dUp, gate, up, dy)
}

func siluGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = silu(v)
	}
}

func siluGradGeneric(dst, x, dy []float32) {
	for i, v := range x {
		_, slope := siluSlope(v)
		dst[i] = dy[i] * slope
	}
}

func swigluGeneric(dst, gate, up []float32) {
	for i, g := range gate {
		dst[i] = silu(g) * up[i]
	}
}

func swigluGradGeneric(dGate, dUp, gate, up, dy []float32) {
	for i, g := range gate {
		value, slope := siluSlope(g)
		d, u := dy[i], up[i]
		dGate[i] = float32(d*u) * slope
		dUp[i] = d * value
	}
}
