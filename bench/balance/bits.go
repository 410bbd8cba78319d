package balance

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"
)

// bitsOf is a number that differs, but for a chance, where bits of a matrix, or what came before
// it, do.
func bitsOf(m blas32.General, before uint64) uint64 {
	const prime = 1099511628211
	sum := before
	for i := range m.Rows {
		for _, v := range m.Data[i*m.Stride : i*m.Stride+m.Cols] {
			sum = (sum ^ uint64(math.Float32bits(v))) * prime
			sum ^= sum >> 29
		}
	}
	return sum
}
