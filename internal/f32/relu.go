package f32

// ReLU sets dst[i] = x[i] where that is positive or NaN, else +0.
func ReLU(dst, x []float32) {
	sameLen(len(dst), len(x))
	for i, v := range x {
		if v <= 0 {
			v = 0
		}
		dst[i] = v
	}
}

// ReLUGrad sets dst[i] = dy[i] where x[i] is positive or NaN, else +0.
func ReLUGrad(dst, x, dy []float32) {
	sameLen(len(dst), len(x), len(dy))
	for i, v := range x {
		d := dy[i]
		if v <= 0 {
			d = 0
		}
		dst[i] = d
	}
}
