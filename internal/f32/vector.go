package f32

// Add sets dst[i] += x[i].
func Add(dst, x []float32) {
	sameLen(len(dst), len(x))
	add(dst, x)
}

// Axpy sets dst[i] += float32(a*x[i]).
func Axpy(dst []float32, a float32, x []float32) {
	sameLen(len(dst), len(x))
	axpy(dst, a, x)
}

// Mul sets dst[i] = x[i]*y[i].
func Mul(dst, x, y []float32) {
	sameLen(len(dst), len(x), len(y))
	mul(dst, x, y)
}

// Scale sets dst[i] *= a.
func Scale(dst []float32, a float32) { scale(dst, a) }

// lanes is the number of partial sums of Dot and Sum: enough independent chains of additions to
// keep the vector units busy in spite of an addition's latency.
const lanes = 32

// Dot returns Σ x[i]*y[i]: lane i%32 adds its products in ascending i to +0; the lanes are then
// added pairwise, lane l to lane l+16, then l to l+8, and so on down to one.
func Dot(x, y []float32) float32 {
	sameLen(len(x), len(y))
	var acc [lanes]float32
	whole := len(x) &^ (lanes - 1)
	dotLanes(&acc, x[:whole], y[:whole])
	for l, v := range x[whole:] {
		acc[l] += float32(v * y[whole+l])
	}
	return fold(&acc)
}

// Sum returns Σ x[i], added as [Dot] adds its products.
func Sum(x []float32) float32 {
	var acc [lanes]float32
	whole := len(x) &^ (lanes - 1)
	for i := 0; i < whole; i += lanes {
		for l, v := range (*[lanes]float32)(x[i:]) {
			acc[l] += v
		}
	}
	for l, v := range x[whole:] {
		acc[l] += v
	}
	return fold(&acc)
}

func fold(acc *[lanes]float32) float32 {
	for n := lanes / 2; n > 0; n /= 2 {
		for l := range n {
			acc[l] += acc[l+n]
		}
	}
	return acc[0]
}
