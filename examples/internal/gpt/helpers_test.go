package gpt

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/param"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// seeded returns a source of random input and prints its seed.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func randomVec(r *rand.Rand, n int) []float32 {
	vec := make([]float32, n)
	for i := range vec {
		vec[i] = float32(r.NormFloat64())
	}
	return vec
}

func randomMatrix(r *rand.Rand, rows, cols int) blas32.General {
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: randomVec(r, rows*cols)}
}

func zeros(rows, cols int) blas32.General {
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)}
}

func clone(m blas32.General) blas32.General {
	m.Data = append([]float32(nil), m.Data...)
	return m
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(Vocab))
	}
	return b
}

// shake moves every parameter of set a little, so that nothing is tested at 0 or 1 alone.
func shake(r *rand.Rand, set *param.Set) {
	for i := range set.Value {
		set.Value[i] += 0.2 * float32(r.NormFloat64())
	}
}

// weigh is the loss of most tests: the sum of y's elements, each times a weight.
func weigh(y table, weights blas32.General) float64 {
	sum := 0.0
	for i, r := range y {
		for j, v := range r {
			sum += v * float64(row(weights, i)[j])
		}
	}
	return sum
}

// checkGradient compares got with central differences of f at the point at, for at most
// checkedElements elements.
func checkGradient(t *testing.T, r *rand.Rand, what string, f func() float64, at []float64, got []float32) {
	t.Helper()
	const step, checkedElements = 1e-5, 150
	require.Len(t, got, len(at), what)
	size := 0.0
	for _, g := range got {
		size = max(size, math.Abs(float64(g)))
	}
	order := r.Perm(len(at))
	for _, i := range order[:min(len(order), checkedElements)] {
		old := at[i]
		at[i] = old + step
		up := f()
		at[i] = old - step
		down := f()
		at[i] = old
		want := (up - down) / (2 * step)
		require.InDelta(t, want, got[i], 1e-4*max(size, 1e-3), "%s, element %d", what, i)
	}
}

// checkSet is checkGradient for every tensor of a set.
func checkSet(t *testing.T, r *rand.Rand, p refParams, f func() float64, grad []float32) {
	t.Helper()
	for i, tensor := range p.set.Tensors() {
		checkGradient(t, r, tensor.Name, f, p.vector(i), p.set.Of(grad, i))
	}
}

// checkRows is checkGradient for a matrix of inputs; f takes the inputs at which it is evaluated.
func checkRows(t *testing.T, r *rand.Rand, what string, x blas32.General, f func(x table) float64, got blas32.General) {
	t.Helper()
	at := wideMatrix(x).flat()
	checkGradient(t, r, what, func() float64 { return f(tableOf(at, x.Cols)) }, at, wideToFlat(got))
}

func wideToFlat(m blas32.General) []float32 {
	var vec []float32
	for i := range m.Rows {
		vec = append(vec, row(m, i)...)
	}
	return vec
}

// requireRows compares a result with the reference.
func requireRows(t *testing.T, want table, got blas32.General) {
	t.Helper()
	require.Len(t, want, got.Rows)
	for i := range want {
		for j := range want[i] {
			require.InDelta(t, want[i][j], row(got, i)[j], 1e-4, "row %d, column %d", i, j)
		}
	}
}

// squareLayer is a Layer without parameters: each element becomes squareFactor times its square.
type squareLayer struct {
	x     blas32.General
	calls int
}

const squareFactor = 0.3

func (s *squareLayer) Forward(_ context.Context, x blas32.General) (blas32.General, error) {
	s.x = x
	return s.Eval(context.Background(), x)
}

func (s *squareLayer) Eval(_ context.Context, x blas32.General) (blas32.General, error) {
	s.calls++
	y := zeros(x.Rows, x.Cols)
	for i := range x.Rows {
		for j, v := range row(x, i) {
			row(y, i)[j] = squareFactor * v * v
		}
	}
	return y, nil
}

func (s *squareLayer) Backward(_ context.Context, dy blas32.General) (blas32.General, error) {
	dx := zeros(dy.Rows, dy.Cols)
	for i := range dy.Rows {
		for j, v := range row(s.x, i) {
			row(dx, i)[j] = 2 * squareFactor * v * row(dy, i)[j]
		}
	}
	return dx, nil
}
