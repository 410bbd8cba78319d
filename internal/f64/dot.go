// Package f64 adds up products of float64 vectors, with the same bits in Go and in assembly.
//
// A sum of products has four running sums: product i is added to sum i%4, in ascending i, and in
// the end they are added as (0+1) + (2+3).
package f64

// Lanes are the running sums of one sum of products.
type Lanes [4]float64

// Dot returns the sum of x[i]·y[i]. y has at least as many elements as x.
func Dot(x, y []float64) float64 {
	var l Lanes
	return l.Close(x, y)
}

// Close adds the products of x and y to sums that have as many products as a multiple of four, and
// returns the whole. y has at least as many elements as x.
func (l *Lanes) Close(x, y []float64) float64 {
	a, b, c, d := l[0], l[1], l[2], l[3]
	y = y[:len(x)]
	for len(x) >= 4 && len(y) >= 4 {
		a += float64(x[0] * y[0])
		b += float64(x[1] * y[1])
		c += float64(x[2] * y[2])
		d += float64(x[3] * y[3])
		x, y = x[4:], y[4:]
	}
	for i := range x {
		switch i {
		case 0:
			a += float64(x[0] * y[0])
		case 1:
			b += float64(x[1] * y[1])
		default:
			c += float64(x[2] * y[2])
		}
	}
	return (a + b) + (c + d)
}

// Dots sets sums to the running sums of x and each of four vectors, over as many elements as four
// divides, and returns their number. Each of y has at least as many elements as x.
func Dots(sums *[4]Lanes, x []float64, y *[4][]float64) (n int) {
	n = len(x) &^ 3
	*sums = [4]Lanes{}
	if n > 0 {
		dots(sums, x[:n], y[0][:n], y[1][:n], y[2][:n], y[3][:n])
	}
	return n
}

func dotsGeneric(sums *[4]Lanes, x []float64, y ...[]float64) {
	for r, y := range y {
		l := &sums[r]
		for i := range x {
			l[i%4] += float64(x[i] * y[i])
		}
	}
}
