package router

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// strided returns a random matrix whose rows lie apart.
func strided(r *rand.Rand, rows, cols int) blas32.General {
	m := blas32.General{Rows: rows, Cols: cols, Stride: cols + 2, Data: make([]float32, rows*(cols+2))}
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64())
	}
	return m
}

// assignment returns one of 5 tokens to 3 experts: token 1 to all, token 4 to none, expert 1 with a
// single one.
func assignment() *Assignment {
	return &Assignment{
		Tokens: 5, Experts: 3, Ends: []int{2, 3, 6},
		Token: []int32{0, 1, 1, 1, 2, 3}, Weight: []float32{.25, .5, -1, 2, .75, 1.5},
	}
}

func TestOrderAndRestore(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	a, x := assignment(), strided(r, 5, 37)
	require.NoError(t, a.Validate())
	ordered, y := strided(r, 6, 37), strided(r, 5, 37)
	a.Order(ordered, x)
	a.Restore(y, ordered)
	for c := range x.Cols {
		at := func(row int) float32 { return x.Data[row*x.Stride+c] }
		for i, token := range a.Token {
			require.Equal(t, at(int(token)), ordered.Data[i*ordered.Stride+c])
		}
		sum := float32(float32(.5*at(1))+float32(-1*at(1))) + float32(2*at(1))
		for row, want := range []float32{.25 * at(0), sum, .75 * at(2), 1.5 * at(3), 0} {
			require.Equal(t, want, y.Data[row*y.Stride+c], "token %d", row)
		}
	}
}

func TestOrderBackward(t *testing.T) {
	a := assignment()
	dx := blas32.General{Rows: 5, Cols: 1, Stride: 1, Data: []float32{1, 1, 1, 1, 1}}
	a.OrderBackward(dx, blas32.General{Rows: 6, Cols: 1, Stride: 2, Data: []float32{1, 0, 2, 0, 4, 0, 8, 0, 16, 0, 32}})
	require.Equal(t, []float32{2, 15, 17, 33, 1}, dx.Data)
}

func TestRestoreBackward(t *testing.T) {
	a := assignment()
	rows := blas32.General{Rows: 6, Cols: 2, Stride: 3, Data: []float32{1, 2, 9, 3, 4, 9, 5, 6, 9, 7, 8, 9, 9, 10, 9, 11, 12}}
	dy := blas32.General{Rows: 5, Cols: 2, Stride: 2, Data: []float32{1, 0, 0, 1, 2, 1, 1, 1, 5, 5}}
	dweights := make([]float32, 6)
	a.RestoreBackward(rows, dweights, rows, dy)
	require.Equal(t, []float32{1, 4, 6, 8, 28, 23}, dweights)
	require.Equal(t, []float32{.25, 0, 9, 0, .5, 9, 0, -1, 9, 0, 2, 9, 1.5, .75, 9, 1.5, 1.5}, rows.Data)
}

func TestOrderMisuse(t *testing.T) {
	a, m := assignment(), func(rows, cols int) blas32.General {
		return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)}
	}
	require.PanicsWithValue(t, "router: Order: 5 rows for 6 entries", func() { a.Order(m(5, 2), m(5, 2)) })
	require.PanicsWithValue(t, "router: Restore: 6 rows for 5 tokens", func() { a.Restore(m(6, 2), m(6, 2)) })
	require.PanicsWithValue(t, "router: OrderBackward: rows of 3 columns for tokens of 2", func() { a.OrderBackward(m(5, 2), m(6, 3)) })
	require.PanicsWithValue(t, "router: RestoreBackward: 1 gradients of weights for 6 entries", func() {
		a.RestoreBackward(m(6, 2), make([]float32, 1), m(6, 2), m(5, 2))
	})
}

func TestValidate(t *testing.T) {
	for says, spoil := range map[string]func(*Assignment){
		"2 ends":            func(a *Assignment) { a.Ends = a.Ends[:2] },
		"entries end at 9":  func(a *Assignment) { a.Ends[2] = 9 },
		"expert 0: token 0": func(a *Assignment) { a.Token[1] = 0 },
		"expert 2: token 7": func(a *Assignment) { a.Token[5] = 7 },
		"6 entries, of which the last 2 belong to no expert": func(a *Assignment) { a.Ends[2] = 4 },
		"6 tokens, 5 weights":                                func(a *Assignment) { a.Weight = a.Weight[:5] },
		"expert 1: entries end at":                           func(a *Assignment) { a.Ends[1] = 1 },
	} {
		a := assignment().Clone()
		spoil(&a)
		require.ErrorContains(t, a.Validate(), says)
	}
	require.NoError(t, assignment().Validate())
}
