package f32

func addGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] += v
	}
}

func axpyGeneric(dst []float32, a float32, x []float32) {
	for i, v := range x {
		dst[i] += float32(a * v)
	}
}

func mulGeneric(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v * y[i]
	}
}

func scaleGeneric(dst []float32, a float32) {
	for i := range dst {
		dst[i] *= a
	}
}

// dotLanesGeneric adds x[i]*y[i] to acc[i%lanes]; the length is a multiple of lanes.
func dotLanesGeneric(acc *[lanes]float32, x, y []float32) {
	for i := 0; i < len(x); i += lanes {
		xs, ys := (*[lanes]float32)(x[i:]), (*[lanes]float32)(y[i:])
		for l := range acc {
			acc[l] += float32(xs[l] * ys[l])
		}
	}
}
