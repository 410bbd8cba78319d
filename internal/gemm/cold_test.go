package gemm

import (
	"fmt"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// BenchmarkExperts takes turns with the weights of several experts, more than caches hold, as a
// layer does.
func BenchmarkExperts(b *testing.B) {
	for _, s := range []struct {
		m, k, n int
		tA, tB  blas.Transpose
	}{
		{128, 512, 1024, blas.NoTrans, blas.NoTrans},
		{128, 1024, 512, blas.NoTrans, blas.NoTrans},
		{128, 512, 1024, blas.NoTrans, blas.Trans},
		{512, 32, 1024, blas.Trans, blas.NoTrans},
	} {
		b.Run(fmt.Sprintf("m=%d/k=%d/n=%d/t=%c%c", s.m, s.k, s.n, s.tA, s.tB), func(b *testing.B) {
			var x, y, z [16]blas32.General
			for i := range x {
				x[i], y[i], z[i] = operand(seeded(b), s.tA, s.m, s.k, 0), operand(seeded(b), s.tB, s.k, s.n, 0), matrix(seeded(b), s.m, s.n, 0)
			}
			i := 0
			for b.Loop() {
				Gemm(s.tA, s.tB, x[i%16], y[i%16], 0, z[i%16])
				i++
			}
			b.ReportMetric(2*float64(s.m)*float64(s.k)*float64(s.n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
