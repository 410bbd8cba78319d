package f32

import "math"

// The functions here work on matrices, x holding rows of cols elements one after the other: what a
// gate asks of many short rows, where a call a row would cost more than the work.

// Finite tells whether no element of x is NaN or infinite.
func Finite(x []float32) bool { return finite(x) }

func finiteGeneric(x []float32) bool {
	// An exponent of all ones carries into the sign bit; the bits of all elements are joined,
	// because there is hardly ever one to find.
	const exponent, one = 0x7f800000, 0x00800000
	joined := uint32(0)
	for _, v := range x {
		joined |= math.Float32bits(v)&exponent + one
	}
	return joined>>31 == 0
}

// TopRows fills best with the indices of the k largest of each row, k to a row, the largest first
// and of equal ones the lowest index first. All of x are finite, and k is at most cols. scratch is
// memory of max(cols, 16) elements.
func TopRows(best []int32, x []float32, cols, k int, scratch []float32) {
	if len(x) == 0 || k == 0 {
		return
	}
	sameLen(len(best)/k*cols, len(x))
	topRows(best, x, cols, k, scratch)
}

// topRowsGeneric relies on most elements of a row losing to the worst of those chosen before them:
// a place is sought only for the few that do not.
func topRowsGeneric(best []int32, x []float32, cols, k int) {
	for ; len(x) != 0; best, x = best[k:], x[cols:] {
		row, b := x[:cols], best[:k]
		for e := range k {
			place(b[:e+1], row, int32(e))
		}
		worst := row[b[k-1]]
		for e := k; e < cols; e++ {
			if row[e] > worst {
				place(b, row, int32(e))
				worst = row[b[k-1]]
			}
		}
	}
}

// place inserts e before those of best that are smaller, and drops the last.
func place(best []int32, row []float32, e int32) {
	i := len(best) - 1
	for ; i > 0 && row[best[i-1]] < row[e]; i-- {
		best[i] = best[i-1]
	}
	best[i] = e
}

// SumExpRows sets sum[r] to the sum over row r of e^(x−top[r]), where top[r] is the largest of the
// row: the bits are those of [Exp] and [Sum].
func SumExpRows(sum, x, top []float32, cols int) {
	sameLen(len(sum), len(top))
	sameLen(len(sum)*cols, len(x))
	if len(x) != 0 {
		sumExpRows(sum, x, top, cols)
	}
}

func sumExpRowsGeneric(sum, x, top []float32, cols int) {
	for r, shift := range top {
		var acc [lanes]float32
		for i, v := range x[r*cols : (r+1)*cols] {
			acc[i%lanes] += exp(v - shift)
		}
		sum[r] = fold(&acc)
	}
}
