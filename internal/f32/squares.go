package f32

// SumSquares returns Σ x[i]² in float64: lane i%8 adds its squares in ascending i to +0; the lanes
// are then added pairwise, lane l to lane l+4, then l to l+2, and then lane 1 to lane 0. A square
// is exact, and neither overflows nor vanishes.
func SumSquares(x []float32) float64 {
	var acc [8]float64
	n := len(x) &^ 7
	squares(&acc, x[:n])
	for l, v := range x[n:] {
		acc[l] += square(v)
	}
	for n := 4; n > 0; n /= 2 {
		for l := range n {
			acc[l] += acc[l+n]
		}
	}
	return acc[0]
}

// squaresGeneric adds x[i]² to acc[i%8]; the length is a multiple of 8.
func squaresGeneric(acc *[8]float64, x []float32) {
	a, b, c, d, e, f, g, h := acc[0], acc[1], acc[2], acc[3], acc[4], acc[5], acc[6], acc[7]
	for ; len(x) >= 8; x = x[8:] {
		v := (*[8]float32)(x)
		a += square(v[0])
		b += square(v[1])
		c += square(v[2])
		d += square(v[3])
		e += square(v[4])
		f += square(v[5])
		g += square(v[6])
		h += square(v[7])
	}
	*acc = [8]float64{a, b, c, d, e, f, g, h}
}

// square is exact, fused with the addition that follows or not: the product of two numbers of 24
// bits has at most 48.
func square(v float32) float64 { return float64(v) * float64(v) }
