package roworder_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/roworder"
	"github.com/switchyard-moe/switchyard/router"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const dim = 5

func random(r *rand.Rand, rows int) blas32.General {
	m := mat.Resize(blas32.General{}, rows, dim)
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64())
	}
	return m
}

// reference does all four steps as the decision does them: the output, and the gradients of the
// answers, of the weights and of the tokens.
func reference(d *router.Decision, answers, dy, drows blas32.General) (
	y, danswers blas32.General, dweights []float32, dx blas32.General,
) {
	y, dx = mat.Resize(blas32.General{}, dy.Rows, dim), mat.Resize(blas32.General{}, dy.Rows, dim)
	danswers, dweights = mat.Resize(blas32.General{}, answers.Rows, dim), make([]float32, d.NumWeights())
	d.Restore(y, answers)
	d.RestoreBackward(danswers, dweights, answers, dy)
	d.OrderBackward(dx, drows)
	return y, danswers, dweights, dx
}

// ordered returns the rows that travel, row by row.
func ordered(s *roworder.Stage, p *roworder.Pass, d *router.Decision, x blas32.General) blas32.General {
	from, token := s.Order(p, d, x)
	if token == nil {
		return from
	}
	m := mat.Resize(blas32.General{}, len(token), dim)
	for i, t := range token {
		copy(mat.Row(m, i), mat.Row(from, int(t)))
	}
	return m
}

// TestTheBitsAreThoseOfTheDecision, of assignments and of mixtures, in passes of different size and
// with an evaluation of other tokens in between.
func TestTheBitsAreThoseOfTheDecision(t *testing.T) {
	for name, c := range map[string]router.Router{
		"topk": router.TopK{K: 2, CapacityFactor: 0.8}, "mixture": router.SoftMoE{Slots: 2},
	} {
		gate, err := c.New(router.Shape{Dim: dim, Experts: 3, Seed: 4})
		require.NoError(t, err)
		s, r := roworder.New(dim, layout.Order{}), rand.New(rand.NewPCG(1, 2))
		route := func(tokens int) (*router.Decision, blas32.General) {
			x := random(r, tokens)
			d, err := gate.Route(x, router.Batch{Ends: []int{tokens / 2, tokens}})
			require.NoError(t, err)
			return d, x
		}
		var one roworder.Pass
		for _, tokens := range []int{9, 4, 12} {
			d, x := route(tokens)
			want := mat.Resize(blas32.General{}, d.NumRows(), dim)
			d.Order(want, x)
			require.Equal(t, want.Data, ordered(s, &one, d, x).Data, name)

			answers, dy, drows := random(r, d.NumRows()), random(r, tokens), random(r, d.NumRows())
			y, danswers, dweights, dx := reference(d, answers, dy, drows)
			got := s.Restore(&one, d, answers, tokens)
			require.Equal(t, y, got, name)

			var two roworder.Pass
			other, _ := route(tokens + 3)
			require.Equal(t, tokens+3, s.Restore(&two, other, random(r, other.NumRows()), tokens+3).Rows)
			require.Equal(t, y, got, "another pass has memory of its own")
			s.ReleaseOutput(&two)

			gotAnswers, gotWeights := s.RestoreBackward(&one, d, answers, dy)
			require.Equal(t, danswers, gotAnswers, name)
			require.Equal(t, dweights, gotWeights, name)
			require.Equal(t, dx, s.OrderBackward(&one, d, drows, tokens), name)
		}
	}
}

// TestNoTokens gives no rows, and says so with a list that is not nil.
func TestNoTokens(t *testing.T) {
	s, p := roworder.New(dim, layout.Order{}), roworder.Pass{}
	d := &router.Decision{Assignment: router.Assignment{Experts: 2, Ends: []int{0, 0}}}
	_, token := s.Order(&p, d, blas32.General{Cols: dim, Stride: dim})
	require.NotNil(t, token)
	require.Empty(t, token)
	require.Zero(t, s.Restore(&p, d, blas32.General{Cols: dim, Stride: dim}, 0).Rows)
}

// TestTokensWithoutRowsGetZeros, in memory that an earlier pass has used.
func TestTokensWithoutRowsGetZeros(t *testing.T) {
	s, r := roworder.New(dim, layout.Order{}), rand.New(rand.NewPCG(1, 2))
	for range 2 {
		var p roworder.Pass
		d := &router.Decision{Assignment: router.Assignment{
			Tokens: 3, Experts: 1, Ends: []int{1}, Token: []int32{1}, Weight: []float32{2},
		}}
		rows := random(r, 1)
		y := s.Restore(&p, d, rows, 3)
		require.Equal(t, make([]float32, dim), mat.Row(y, 0))
		require.NotZero(t, mat.Row(y, 1)[0])
		dx := s.OrderBackward(&p, d, rows, 3)
		require.Equal(t, rows.Data, mat.Row(dx, 1))
		require.Equal(t, make([]float32, dim), mat.Row(dx, 2))
		s.ReleaseOutput(&p)
		s.ReleaseInput(&p)
	}
}

// TestPassesUseMemoryAgain: what a pass gives back the next one takes, and nothing twice.
func TestPassesUseMemoryAgain(t *testing.T) {
	s, r := roworder.New(dim, layout.Order{}), rand.New(rand.NewPCG(1, 2))
	d := &router.Decision{Assignment: router.Assignment{
		Tokens: 3, Experts: 1, Ends: []int{2}, Token: []int32{0, 2}, Weight: []float32{2, 3},
	}}
	answers, dy := random(r, 2), random(r, 3)
	pass := func(p *roworder.Pass) {
		s.Restore(p, d, answers, 3)
		s.RestoreBackward(p, d, answers, dy)
		s.OrderBackward(p, d, answers, 3)
		s.ReleaseRows(p)
	}
	end := func(p *roworder.Pass) {
		s.ReleaseOutput(p)
		s.ReleaseInput(p)
		s.ReleaseInput(p)
	}
	var one, two roworder.Pass
	both := func() {
		pass(&one)
		pass(&two)
		end(&one)
		end(&two)
	}
	both()
	require.Zero(t, alloctest.Least(20, both))
	y := s.Restore(&one, d, answers, 3)
	require.NotSame(t, &y.Data[0], &s.Restore(&two, d, answers, 3).Data[0])
}
