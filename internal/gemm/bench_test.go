package gemm

import (
	"fmt"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
)

// shapes are a big square, the products of an expert's forward and backward pass for many and for
// few rows, and a router's.
var shapes = []struct {
	m, k, n int
	tA, tB  blas.Transpose
}{
	{1024, 1024, 1024, blas.NoTrans, blas.NoTrans},
	{512, 128, 512, blas.NoTrans, blas.NoTrans},
	{64, 128, 512, blas.NoTrans, blas.NoTrans},
	{64, 512, 128, blas.NoTrans, blas.NoTrans},
	{64, 128, 512, blas.NoTrans, blas.Trans},
	{64, 512, 128, blas.NoTrans, blas.Trans},
	{128, 64, 512, blas.Trans, blas.NoTrans},
	{128, 8, 512, blas.Trans, blas.NoTrans},
	{8, 128, 512, blas.NoTrans, blas.NoTrans},
	{8, 512, 128, blas.NoTrans, blas.Trans},
	{1, 128, 512, blas.NoTrans, blas.NoTrans},
	{2048, 128, 8, blas.NoTrans, blas.NoTrans},
	{2048, 8, 128, blas.NoTrans, blas.Trans},
	{128, 2048, 8, blas.Trans, blas.NoTrans},
}

func BenchmarkGemm(b *testing.B) {
	for _, s := range shapes {
		x, y := operand(seeded(b), s.tA, s.m, s.k, 0), operand(seeded(b), s.tB, s.k, s.n, 0)
		z := matrix(seeded(b), s.m, s.n, 0)
		name := fmt.Sprintf("m=%d/k=%d/n=%d/t=%c%c", s.m, s.k, s.n, s.tA, s.tB)
		run := func(by string, f func()) {
			b.Run(name+"/by="+by, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					f()
				}
				flop := 2 * float64(s.m) * float64(s.k) * float64(s.n) * float64(b.N)
				b.ReportMetric(flop/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
		for _, set := range runnable() {
			run(set.name, func() {
				set.multiply(viewOf(s.tA, x, "x"), viewOf(s.tB, y, "y"), fromZero, viewOf(blas.NoTrans, z, "z"))
			})
		}
		if !Exact {
			run(Name(), func() { Gemm(s.tA, s.tB, x, y, 0, z) })
		}
		gonumGemm := func() {
			gonum.Implementation{}.Sgemm(s.tA, s.tB, s.m, s.n, s.k, 1, x.Data, x.Stride, y.Data, y.Stride, 0, z.Data, z.Stride)
		}
		run("gonum", gonumGemm)
	}
}
