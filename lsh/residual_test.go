package lsh_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/codectest"
	"github.com/switchyard-moe/switchyard/lsh"
)

var (
	_ alltoall.Codec = lsh.Residual{}
	_ alltoall.Codec = (*lsh.Codebook)(nil)
)

// clustered are rows near centres, which are drawn first.
func clustered(rows, cols, centres int, spread float64) blas32.General {
	r := rand.New(rand.NewPCG(3, uint64(cols)))
	c := make([]float64, centres*cols)
	for i := range c {
		c[i] = r.NormFloat64()
	}
	m := blas32.General{Rows: rows, Cols: cols, Stride: cols + 1, Data: make([]float32, rows*(cols+1))}
	for i := range rows {
		for j := range cols {
			m.Data[i*m.Stride+j] = float32(c[i%centres*cols+j] + spread*r.NormFloat64())
		}
	}
	return m
}

func learned(t testing.TB, r lsh.Residual, rows blas32.General) *lsh.Codebook {
	t.Helper()
	b, err := lsh.LearnCodebook(r, rows)
	require.NoError(t, err)
	return b
}

// TestResidualIsACodec, with centroids and without.
func TestResidualIsACodec(t *testing.T) {
	loss := codectest.Loss{Most: 1, Drifts: true}
	for bits := 1; bits <= 4; bits++ {
		codectest.Run(t, lsh.Residual{Bits: bits}, loss)
	}
	codectest.Run(t, learned(t, lsh.Residual{Bits: 3, Centroids: 20}, clustered(200, 129, 20, 0.1)), loss)
}

func FuzzResidualDecode(f *testing.F) {
	codectest.Fuzz(f, learned(f, lsh.Residual{Bits: 3, Centroids: 9}, clustered(50, 64, 9, 0.1)))
}

// TestErrorOfResidual is that of the best levels for the normal distribution: with no centroids of
// all rows, with centroids of what is left.
func TestErrorOfResidual(t *testing.T) {
	const spread = 0.2
	rows := clustered(640, 128, 16, spread)
	fresh := clustered(1280, 128, 16, spread)
	fresh.Data, fresh.Rows = fresh.Data[640*fresh.Stride:], 640
	for bits, square := range []float64{1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497} {
		if bits == 0 {
			continue
		}
		r := lsh.Residual{Bits: bits, Centroids: 80} // so that each of the 16 centres has some
		require.InEpsilon(t, math.Sqrt(square), learned(t, lsh.Residual{Bits: bits}, rows).MeanError(fresh), 0.08, "%d bits", bits)
		left := spread / math.Sqrt(1+spread*spread)
		require.InEpsilon(t, math.Sqrt(square)*left, learned(t, r, rows).MeanError(fresh), 0.15, "%d bits with centroids", bits)
	}
}

// TestResidualOfCentroids is nothing: they come back bit for bit, and zeros too.
func TestResidualOfCentroids(t *testing.T) {
	b := learned(t, lsh.Residual{Bits: 1, Centroids: 5}, clustered(50, 70, 5, 0))
	require.Equal(t, 5, b.Centroids().Rows)
	got := make([]float32, 70)
	for k := range 5 {
		row := b.Centroids().Data[k*b.Centroids().Stride:][:70]
		require.NoError(t, b.Decode(got, b.Append(nil, row)))
		require.Equal(t, row, got)
	}
	require.NoError(t, b.Decode(got, b.Append(nil, make([]float32, 70))))
	require.Equal(t, make([]float32, 70), got)
}

// TestRowsFromAfar are written no worse than without centroids, but for a little.
func TestRowsFromAfar(t *testing.T) {
	b := learned(t, lsh.Residual{Bits: 3, Centroids: 16}, clustered(320, 64, 16, 0.1))
	for _, scale := range []float32{1e-20, 1e-3, 100, 1e18} {
		rows := clustered(100, 64, 100, 0)
		for i := range rows.Data {
			rows.Data[i] *= scale * float32(1-2*(i/3%2))
		}
		plain := learned(t, lsh.Residual{Bits: 3}, rows).MeanError(rows)
		require.Less(t, b.MeanError(rows), 1.02*plain, "scale %v", scale)
	}
}

func TestResidualThatCannotBe(t *testing.T) {
	for _, r := range []lsh.Residual{{}, {Bits: 5}, {Bits: -1}, {Bits: 3, Centroids: -1}, {Bits: 3, Centroids: 256}} {
		require.ErrorContains(t, r.Validate(), "want 1 to 4 and 0 to 255", "%v", r)
		require.Zero(t, r.Bytes(64))
		require.Error(t, alltoall.Everywhere(r).Validate(64), "%v", r)
		_, err := lsh.LearnCodebook(r, blas32.General{})
		require.Error(t, err)
	}
	require.NoError(t, lsh.Residual{Bits: 4, Centroids: 255}.Validate())
	one := blas32.General{Rows: 1, Cols: 1, Stride: 1, Data: []float32{float32(math.Inf(1))}}
	_, err := lsh.NewCodebook(lsh.Residual{Bits: 1}, one)
	require.ErrorContains(t, err, "centroid 0")
	_, err = lsh.NewCodebook(lsh.Residual{Bits: 1}, blas32.General{Rows: 2, Cols: 2, Stride: 2, Data: make([]float32, 3)})
	require.Error(t, err)
	b := learned(t, lsh.Residual{Bits: 2, Centroids: 2}, clustered(10, 8, 2, 0))
	code := b.Append(nil, make([]float32, 8))
	code[0] = 3
	require.ErrorContains(t, b.Decode(make([]float32, 8), code), "centroid 3 for a row of 8 numbers, want at most 2 of 8")
	require.ErrorContains(t, lsh.Residual{Bits: 2}.Decode(make([]float32, 8), code), "centroid 3")
}

// TestLearnCodebookFromWhatThereIs: few rows, none, and some that are not finite.
func TestLearnCodebookFromWhatThereIs(t *testing.T) {
	r := lsh.Residual{Bits: 3, Centroids: 8}
	require.Zero(t, learned(t, r, blas32.General{Cols: 4, Stride: 4}).Centroids().Rows)
	require.Equal(t, 3, learned(t, r, clustered(3, 4, 3, 0)).Centroids().Rows)
	rows := clustered(40, 4, 8, 0)
	rows.Data[0], rows.Data[7*rows.Stride] = float32(math.NaN()), 1e30
	b := learned(t, r, rows)
	require.LessOrEqual(t, b.Centroids().Rows, 8)
	require.Less(t, b.MeanError(clustered(40, 4, 8, 0)), 0.01)
	require.NotEqual(t, b.String(), learned(t, r, clustered(40, 4, 8, 0.1)).String())
	require.Equal(t, b.String(), learned(t, r, rows).String())
}

// BenchmarkCodebook writes and reads rows of 128 numbers in 3 bits, with 64 centroids.
func BenchmarkCodebook(b *testing.B) {
	rows := clustered(1024, 128, 64, 0.3)
	book := learned(b, lsh.Residual{Bits: 3, Centroids: 64}, rows)
	code := book.Append(nil, rows.Data[:128])
	b.Run("write", func(b *testing.B) {
		for i := range b.N {
			code = book.Append(code[:0], rows.Data[i%1024*rows.Stride:][:128])
		}
	})
	b.Run("read", func(b *testing.B) {
		row := make([]float32, 128)
		for range b.N {
			if err := book.Decode(row, code); err != nil {
				b.Fatal(err)
			}
		}
	})
}
