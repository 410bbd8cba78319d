package gemm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/neartest"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
)

func TestImplementationMatchesGonum(t *testing.T) {
	r := seeded(t)
	for _, alpha := range []float32{0, 1, -1.5} {
		for _, beta := range []float32{0, 1, 0.25} {
			for range 20 {
				p := newProblem(r, side(r, 80), side(r, 80), side(r, 80))
				got, want := clone(p.c), clone(p.c)
				k := viewOf(p.tA, p.a, "a").cols
				args := func(sgemm sgemmFunc, c []float32) {
					sgemm(p.tA, p.tB, p.c.Rows, p.c.Cols, k, alpha, p.a.Data, p.a.Stride, p.b.Data, p.b.Stride, beta, c, p.c.Stride)
				}
				args(Implementation().Sgemm, got.Data)
				args(gonum.Implementation{}.Sgemm, want.Data)
				neartest.Equal(t, noNaN(want.Data), noNaN(got.Data), 1e-4, "alpha=%v beta=%v %v", alpha, beta, p)
			}
		}
	}
}

type sgemmFunc = func(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int)

func TestImplementationOfEmpty(t *testing.T) {
	sgemm := Implementation().Sgemm
	c := []float32{1, 2, 3, 4}
	sgemm(blas.NoTrans, blas.NoTrans, 2, 2, 0, 3, nil, 1, nil, 2, 0.5, c, 2)
	require.Equal(t, []float32{0.5, 1, 1.5, 2}, c)
	sgemm(blas.NoTrans, blas.NoTrans, 0, 2, 3, 3, nil, 3, make([]float32, 6), 2, 0.5, nil, 2)
	sgemm(blas.NoTrans, blas.NoTrans, 2, 2, 0, 1, nil, 1, nil, 2, 0, c, 2)
	require.Equal(t, make([]float32, 4), c)
}
