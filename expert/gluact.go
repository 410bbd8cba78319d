package expert

import (
	"github.com/switchyard-moe/switchyard/internal/f32"
)

// gluBlock is how many elements of a [GLU] are computed at a time.
const gluBlock = 64

// sigmoids fills s with sigmoid(Alpha·g) of clamped gates.
func (c GLU) sigmoids(s, gate []float32) {
	for i, g := range gate {
		s[i] = c.Alpha * c.clampGate(g)
	}
	f32.Sigmoid(s, s)
}

// clampGate bounds the gate from above, if its limit is to hold before the sigmoid.
func (c GLU) clampGate(g float32) float32 {
	if c.Limit > 0 && !c.LimitAct && g > c.Limit {
		return c.Limit
	}
	return g
}

func (c GLU) clampUp(u float32) float32 {
	if c.Limit > 0 {
		u = max(-c.Limit, min(u, c.Limit))
	}
	return u
}

// clampAct bounds the gate's activation from above, if its limit is to hold there.
func (c GLU) clampAct(a float32) float32 {
	if c.Limit > 0 && c.LimitAct && a > c.Limit {
		return c.Limit
	}
	return a
}

// value sets act to the product of activated gate and up.
func (c GLU) value(act, gate, up []float32) {
	var s [gluBlock]float32
	for len(act) > 0 {
		n := min(len(act), gluBlock)
		c.sigmoids(s[:n], gate[:n])
		for i := range n {
			act[i] = c.clampAct(c.clampGate(gate[i])*s[i]) * (c.clampUp(up[i]) + c.Shift)
		}
		act, gate, up = act[n:], gate[n:], up[n:]
	}
}

// grad sets dGate and dUp, which may be gate and up or dAct, to dAct times the derivatives of
// value.
func (c GLU) grad(dGate, dUp, gate, up, dAct []float32) {
	var s [gluBlock]float32
	for len(gate) > 0 {
		n := min(len(gate), gluBlock)
		c.sigmoids(s[:n], gate[:n])
		for i := range n {
			g, u, d := c.clampGate(gate[i]), c.clampUp(up[i]), dAct[i]
			a := g * s[i]
			slope := s[i] * (1 + float32(float32(c.Alpha*g)*(1-s[i])))
			if g != gate[i] || c.clampAct(a) != a {
				slope = 0
			}
			upSlope := c.clampAct(a)
			if u != up[i] {
				upSlope = 0
			}
			dGate[i], dUp[i] = d*float32(slope*(u+c.Shift)), d*upSlope
		}
		dGate, dUp, gate, up, dAct = dGate[n:], dUp[n:], gate[n:], up[n:], dAct[n:]
	}
}

// throughOut turns d, one row's gradient with respect to the scaled activation, into the one
// before it was multiplied by the output gate's value, and returns that of the gate's logit.
func (c GLU) throughOut(d, gate, up []float32, out float32) float32 {
	var act [gluBlock]float32
	sum := float32(0)
	for i := 0; i < len(d); i += gluBlock {
		n := min(len(d)-i, gluBlock)
		c.value(act[:n], gate[i:i+n], up[i:i+n])
		sum += f32.Dot(act[:n], d[i:i+n])
	}
	f32.Scale(d, out)
	return sum * float32(out*(1-out))
}
