package experttest

import (
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
)

// rowGradients takes gradients to rows of a forward pass before its backward pass, for experts that
// can: of all rows in order, which is what Backward returns; and of some rows never, of others more
// than once and in any order, which is what a pass over these rows returns. Passes are in flight,
// and frozen at times; dx is dy in some of them, and rows are strided.
func rowGradients(c check) {
	g, ok := c.usual().(expert.RowGradients)
	if !ok {
		c.Skip("these take gradients of their own rows alone")
	}
	for i := range 6 {
		g.Params().Frozen = i%3 == 2
		b, other := c.batch(1+i%3), c.batch(2)
		some := c.some(b.rows)
		alone := batch{x: pick(b.x, some.of), dy: c.matrix(len(some.of), dim), rows: some.rows}
		want, wantSome := b.pass(g), alone.pass(g)
		_, saved := g.Forward(b.x, b.rows)
		_, between := g.Forward(other.x, other.rows)
		all := make([]int32, b.x.Rows)
		for i := range all {
			all[i] = int32(i)
		}
		c.same(want.dx, dense(c.taken(g, saved, all, b.dy, i%2 == 0)), "gradients of all rows")
		c.same(wantSome.dx, dense(c.taken(g, saved, narrow(some.of), alone.dy, i%2 == 1)), "gradients of other rows")
		g.RowGradients(between, nil, blas32.General{Cols: dim, Stride: dim}, blas32.General{Cols: dim, Stride: dim})
		require.Empty(c, g.Params().Grad.Nodes(), "no gradient of parameters is entered")
		c.same(want.dx, dense(g.Backward(saved, b.dy)), "Backward afterwards")
		if !g.Params().Frozen {
			c.same(want.grad, g.Params().Grad.Total(), "gradient of the parameters")
		}
		g.Params().Grad.Reset()
		g.Backward(between, other.dy)
		g.Params().Grad.Reset()
	}
	c.noRowGradients(g)
}

// taken calls RowGradients with copies of dy whose rows stand apart; inPlace dx is dy.
func (c check) taken(g expert.RowGradients, saved expert.Saved, of []int32, dy blas32.General, inPlace bool) blas32.General {
	from := apart(dy)
	to := apart(c.matrix(dy.Rows, dim))
	if inPlace {
		to = from
	}
	g.RowGradients(saved, of, from, to)
	if !inPlace {
		require.Equal(c, dense(dy), dense(from), "dy is left alone")
	}
	return to
}

// noRowGradients: a pass without rows takes none.
func (c check) noRowGradients(g expert.RowGradients) {
	none := blas32.General{Cols: dim, Stride: dim}
	_, saved := g.Forward(none, expert.Rows{Experts: count, Leaves: 1, Ends: make([]int, count)})
	g.RowGradients(saved, nil, none, none)
	g.Backward(saved, none)
	g.Params().Grad.Reset()
}

// chosen are rows of a batch, sorted by expert, and where those of each expert end.
type chosen struct {
	of   []int
	rows expert.Rows
}

// some chooses rows of each expert at random, some of them more than once.
func (c check) some(rows expert.Rows) (s chosen) {
	s.rows = expert.Rows{Experts: rows.Experts, Leaves: 1}
	for e := range rows.Experts {
		begin, end := rows.Of(e)
		for range c.rng.IntN(2*(end-begin) + 1) {
			s.of = append(s.of, begin+c.rng.IntN(end-begin))
		}
		s.rows.Ends = append(s.rows.Ends, len(s.of))
	}
	return s
}

func narrow(list []int) []int32 {
	out := make([]int32, len(list))
	for i, v := range list {
		out[i] = int32(v)
	}
	return out
}

// apart is a copy of m with a number between its rows.
func apart(m blas32.General) blas32.General {
	out := blas32.General{Rows: m.Rows, Cols: m.Cols, Stride: m.Cols + 1, Data: make([]float32, m.Rows*(m.Cols+1))}
	for i := range m.Rows {
		copy(out.Data[i*out.Stride:], m.Data[i*m.Stride:][:m.Cols])
	}
	return out
}
