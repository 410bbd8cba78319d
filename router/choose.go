package router

import (
	"fmt"
	"math"
)

// topK fills best with the indices of the largest of score, the largest first, and among equal ones
// the lowest index first. There are at least as many scores as choices. Most scores of a row lose
// to the worst of those chosen before them, so the position is searched for only for the few that
// do not.
func topK(best []int32, score []float32) {
	k := len(best)
	for e := range k {
		insert(best[:e+1], score, int32(e))
	}
	worst := score[best[k-1]]
	for e := k; e < len(score); e++ {
		if score[e] > worst {
			insert(best, score, int32(e))
			worst = score[best[k-1]]
		}
	}
}

// insert puts e before those of best that are smaller, and drops the last.
func insert(best []int32, score []float32, e int32) {
	i := len(best) - 1
	for ; i > 0 && score[best[i-1]] < score[e]; i-- {
		best[i] = best[i-1]
	}
	best[i] = e
}

// firstInfinite returns the index of the first NaN or infinity in x, or -1.
func firstInfinite(x []float32) int {
	// An exponent of all ones carries into the sign bit; the bits of all elements are joined,
	// because there is hardly ever one to find.
	const exponent, one = 0x7f800000, 0x00800000
	joined := uint32(0)
	for _, v := range x {
		joined |= math.Float32bits(v)&exponent + one
	}
	if joined>>31 == 0 {
		return -1
	}
	for i, v := range x {
		if v-v != 0 {
			return i
		}
	}
	return -1
}

// checkFinite returns an error that names the first token with a NaN or an infinity among its
// scores.
func checkFinite(logits *grid, ends []int) error {
	begin := 0
	for g, end := range ends {
		for t := begin; t < end; t++ {
			if e := firstInfinite(logits.row(t)); e >= 0 {
				return fmt.Errorf("router: token %d (row %d of group %d): score of expert %d is %v, not a finite number", t, t-begin, g, e, logits.row(t)[e])
			}
		}
		begin = end
	}
	return nil
}
