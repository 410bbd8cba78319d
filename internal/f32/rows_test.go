package f32

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// someRows returns a matrix with many equal elements.
func someRows(r *rand.Rand, rows, cols int) []float32 {
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(r.IntN(2*cols)-cols) / 4
	}
	return x
}

func TestTopRowsIsAStableSort(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, cols := range []int{1, 3, 8, 16, 24, 32, 40, 64, 72, 100, 256} {
		for k := 1; k <= min(cols, 12); k++ {
			x := someRows(r, 7, cols)
			best := make([]int32, 7*k)
			TopRows(best, x, cols, k, make([]float32, max(cols, 16)))
			for i := range 7 {
				order := make([]int32, cols)
				for e := range order {
					order[e] = int32(e)
				}
				slices.SortStableFunc(order, func(a, b int32) int {
					return -compare(x[i*cols+int(a)], x[i*cols+int(b)])
				})
				require.Equal(t, order[:k], best[i*k:(i+1)*k], "%d columns, k = %d, row %d", cols, k, i)
			}
		}
	}
}

func compare(a, b float32) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestSumExpRowsIsSumOfExp(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, cols := range []int{1, 5, 8, 16, 24, 32, 56, 64, 100, 256} {
		x := make([]float32, 5*cols)
		for i := range x {
			x[i] = float32(20 * r.NormFloat64())
		}
		top, sum := make([]float32, 5), make([]float32, 5)
		for i := range top {
			top[i] = slices.Max(x[i*cols : (i+1)*cols])
		}
		SumExpRows(sum, x, top, cols)
		for i := range sum {
			e := slices.Clone(x[i*cols : (i+1)*cols])
			for j := range e {
				e[j] -= top[i]
			}
			Exp(e, e)
			require.Equal(t, Sum(e), sum[i], "%d columns, row %d", cols, i)
		}
	}
}

func TestFinite(t *testing.T) {
	inf := float32(math.Inf(1))
	for n := range 70 {
		x := make([]float32, n)
		for i := range x {
			x[i] = math.MaxFloat32
		}
		require.True(t, Finite(x))
		for i := range x {
			for _, bad := range []float32{inf, -inf, inf - inf} {
				x[i] = bad
				require.False(t, Finite(x), "%v at %d of %d", bad, i, n)
			}
			x[i] = -math.MaxFloat32
		}
	}
}

func BenchmarkRows(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	const rows = 64
	for _, c := range [][2]int{{8, 1}, {8, 2}, {8, 8}, {64, 1}, {64, 2}, {64, 8}, {256, 1}, {256, 2}, {256, 8}} {
		x := make([]float32, rows*c[0])
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		best, scratch := make([]int32, rows*c[1]), make([]float32, max(c[0], 16))
		top, sum := make([]float32, rows), make([]float32, rows)
		b.Run(bench("top", c), func(b *testing.B) {
			for b.Loop() {
				TopRows(best, x, c[0], c[1], scratch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
		if c[1] == 1 {
			b.Run(bench("sumexp", c), func(b *testing.B) {
				for b.Loop() {
					SumExpRows(sum, x, top, c[0])
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
			})
		}
	}
}

func bench(name string, c [2]int) string { return fmt.Sprintf("%s/cols=%d/k=%d", name, c[0], c[1]) }
