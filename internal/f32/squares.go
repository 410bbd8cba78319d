package f32

// SumSquares returns Σ x[i]² in float64, where a square is exact: lane i%8 adds its squares in
// ascending i to +0; the lanes are then added pairwise, lane l to lane l+4, then l to l+2, and then
// lane 1 to lane 0. A square can neither overflow nor vanish. There is no assembly kernel: eight
// chains of additions keep up with the memory that gradients come from.
func SumSquares(x []float32) float64 {
	var a, b, c, d, e, f, g, h float64
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
	acc := [8]float64{a, b, c, d, e, f, g, h}
	for l, v := range x {
		acc[l] += square(v)
	}
	for n := 4; n > 0; n /= 2 {
		for l := range n {
			acc[l] += acc[l+n]
		}
	}
	return acc[0]
}

// square is exact: the product of two numbers of 24 bits has at most 48.
func square(v float32) float64 { return float64(v) * float64(v) }
