package hadamard

import "math"

func transformGeneric(dst, src []float32, signs []uint32) {
	flip(dst, src, signs)
	plainGeneric(dst)
}

// flip copies src with signs turned around.
func flip(dst, src []float32, signs []uint32) {
	dst, signs = dst[:len(src)], signs[:len(src)]
	for i, v := range src {
		dst[i] = math.Float32frombits(math.Float32bits(v) ^ signs[i])
	}
}

// plainGeneric transforms x in place, without signs.
func plainGeneric(x []float32) { butterflies(x, 1) }

// butterflies does those of the strides from len(x)/2 down to last.
func butterflies(x []float32, last int) {
	for h := len(x) / 2; h >= last; h /= 2 {
		for b := 0; b < len(x); b += 2 * h {
			low, high := x[b:b+h], x[b+h:b+2*h]
			for i, u := range low {
				v := high[i]
				low[i], high[i] = u+v, u-v
			}
		}
	}
}

func halveGeneric(dst, src []float32, signs []uint32) {
	n := len(dst)
	low, high := src[:n], src[n:2*n]
	s, t := signs[:n], signs[n:2*n]
	for i := range dst {
		dst[i] = math.Float32frombits(math.Float32bits(low[i])^s[i]) + math.Float32frombits(math.Float32bits(high[i])^t[i])
	}
}
