package rows

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// assigned is a random assignment of tokens to experts, entries sorted by expert and then by token.
type assigned struct {
	tokens int
	token  []int32
	weight []float32
}

func randomAssignment(r *rand.Rand, tokens, experts int) assigned {
	a := assigned{tokens: tokens}
	share := r.Float64()
	for range experts {
		for t := range tokens {
			if r.Float64() < share {
				a.token, a.weight = append(a.token, int32(t)), append(a.weight, float32(r.NormFloat64()))
			}
		}
	}
	return a
}

func randomMatrix(r *rand.Rand, rows, cols, gap int) blas32.General {
	m := blas32.General{Rows: rows, Cols: cols, Stride: cols + gap, Data: make([]float32, rows*(cols+gap))}
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64())
		if r.IntN(20) == 0 {
			m.Data[i] = float32(math.Copysign(0, -1))
		}
	}
	return m
}

// slowSum is the reference: entry by entry, as the router's contract states.
func slowSum(a assigned, dst, rows blas32.General, weight []float32) {
	for t := range dst.Rows {
		clear(mat.Row(dst, t))
	}
	for i, t := range a.token {
		for c, v := range mat.Row(rows, i) {
			if weight != nil {
				v = float32(weight[i] * v)
			}
			mat.Row(dst, int(t))[c] += v
		}
	}
}

func requireSameBits(t *testing.T, want, got blas32.General, about string) {
	t.Helper()
	for r := range want.Rows {
		for c, v := range mat.Row(want, r) {
			if g := mat.Row(got, r)[c]; math.Float32bits(v) != math.Float32bits(g) {
				require.Failf(t, "other bits", "%s: row %d, column %d: %v, want %v", about, r, c, g, v)
			}
		}
	}
}

func TestSumAndItsBackwardHaveTheReferencesBits(t *testing.T) {
	lowerFarBytes(t)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	var x Index // one for all, so that its memory is used again
	shapes := [][3]int{{0, 3, 4}, {5, 1, 1}, {7, 3, 31}, {9, 4, 32}, {33, 20, 100}, {64, 5, 64}, {40, 8, 1024}, {40, 8, 1003}, {10, 40, 520}}
	for i, s := range append(shapes, shapes...) {
		gap := i % 3 * 8
		a := randomAssignment(r, s[0], s[1])
		about := fmt.Sprintf("seed %d, %d tokens, %d experts, %d columns, gap %d, %d rows", seed, s[0], s[1], s[2], gap, len(a.token))
		rows, dy := randomMatrix(r, len(a.token), s[2], gap), randomMatrix(r, s[0], s[2], gap)
		x.Set(a.tokens, a.token)
		for _, weight := range [][]float32{a.weight, nil} {
			if weight != nil || len(a.weight) > 0 {
				want, got := randomMatrix(r, s[0], s[2], 0), randomMatrix(r, s[0], s[2], gap)
				slowSum(a, want, rows, weight)
				Sum(got, rows, &x, weight)
				requireSameBits(t, want, got, about)
			}
		}
		drows, dweight := randomMatrix(r, len(a.token), s[2], gap), make([]float32, len(a.token))
		SumBackward(drows, dweight, rows, dy, a.token, a.weight)
		want := randomMatrix(r, len(a.token), s[2], 0)
		for i, token := range a.token {
			for c, v := range mat.Row(dy, int(token)) {
				mat.Row(want, i)[c] = v * a.weight[i]
			}
			require.Equal(t, f32.Dot(mat.Row(rows, i), mat.Row(dy, int(token))), dweight[i], about)
		}
		requireSameBits(t, want, drows, about)
	}
}

func TestIndexListsEveryRowOnce(t *testing.T) {
	var x Index
	x.Set(4, []int32{2, 0, 2, 3, 0, 2})
	require.Equal(t, []int32{2, 2, 5, 6}, x.ends)
	require.Equal(t, []int32{1, 4, 0, 2, 5, 3}, x.row)
	x.Set(2, []int32{1})
	require.Equal(t, []int32{0, 1}, x.ends)
}

func TestSumPanicsOnWrongSizes(t *testing.T) {
	m := func(rows, cols int) blas32.General {
		return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)}
	}
	var x Index
	x.Set(2, []int32{0, 1, 1})
	require.PanicsWithValue(t, "rows: Sum: 2 rows for 2 tokens with an index of 3 for 2", func() { Sum(m(2, 1), m(2, 1), &x, nil) })
	require.PanicsWithValue(t, "rows: Sum: rows of 2 columns for tokens of 1", func() { Sum(m(2, 1), m(3, 2), &x, nil) })
	require.PanicsWithValue(t, "rows: Sum: 1 weights for 3 rows", func() { Sum(m(2, 1), m(3, 1), &x, []float32{1}) })
	require.Panics(t, func() { SumBackward(m(2, 1), nil, m(2, 1), m(2, 1), []int32{0}, nil) })
}

func BenchmarkSum(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	const tokens, experts, dim = 4096, 16, 1024
	var x Index
	token := make([]int32, 0, 2*tokens)
	for e := range experts {
		for t := range tokens {
			if t%8 == e%8 {
				token = append(token, int32(t))
			}
		}
	}
	x.Set(tokens, token)
	dst, rows := randomMatrix(r, tokens, dim, 0), randomMatrix(r, len(token), dim, 0)
	weight := slices.Repeat([]float32{0.5}, len(token))
	b.SetBytes(4 * dim * int64(len(token)))
	for b.Loop() {
		Sum(dst, rows, &x, weight)
	}
}
