package experttest

import (
	"math"
	"slices"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/neartest"
)

// dim and count are the experts' shape in most cases: small and odd.
const dim, count = 7, 3

func (c check) group(s expert.Shape) expert.Group {
	c.Helper()
	g, err := c.kind.New(s)
	require.NoError(c, err)
	return g
}

func (c check) usual() expert.Group {
	c.Helper()
	return c.group(expert.Shape{Dim: dim, First: 2, Count: count, Seed: 11})
}

// batch is the arguments of a forward and a backward pass.
type batch struct {
	x, dy blas32.General
	rows  expert.Rows
}

// batch returns a random batch in which some experts have no rows in some leaves.
func (c check) batch(leaves int) batch {
	b := batch{rows: expert.Rows{Experts: count, Leaves: leaves}}
	n := 0
	for range count * leaves {
		n += c.rng.IntN(5)
		b.rows.Ends = append(b.rows.Ends, n)
	}
	b.x, b.dy = c.matrix(n, dim), c.matrix(n, dim)
	return b
}

func (c check) matrix(rows, cols int) blas32.General {
	m := blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)}
	for i := range m.Data {
		m.Data[i] = c.rng.Float32()*2 - 1
	}
	return m
}

// leaf returns leaf l of b as a batch of one leaf.
func (b batch) leaf(l int) batch {
	out := batch{rows: expert.Rows{Experts: b.rows.Experts, Leaves: 1}}
	var keep []int
	for e := range b.rows.Experts {
		begin, end := b.rows.Leaf(e, l)
		for i := begin; i < end; i++ {
			keep = append(keep, i)
		}
		out.rows.Ends = append(out.rows.Ends, len(keep))
	}
	out.x, out.dy = pick(b.x, keep), pick(b.dy, keep)
	return out
}

// merged returns b as one leaf.
func (b batch) merged() batch {
	rows := expert.Rows{Experts: b.rows.Experts, Leaves: 1}
	for e := range b.rows.Experts {
		_, end := b.rows.Of(e)
		rows.Ends = append(rows.Ends, end)
	}
	b.rows = rows
	return b
}

func pick(m blas32.General, rows []int) blas32.General {
	out := blas32.General{Rows: len(rows), Cols: m.Cols, Stride: m.Cols}
	for _, i := range rows {
		out.Data = append(out.Data, m.Data[i*m.Stride:i*m.Stride+m.Cols]...)
	}
	return out
}

// dense returns a copy of m's elements, row by row.
func dense(m blas32.General) []float32 {
	all := make([]int, m.Rows)
	for i := range all {
		all[i] = i
	}
	return pick(m, all).Data
}

// result is what a forward and a backward pass return.
type result struct{ y, dx, grad []float32 }

// pass runs b forward and backward on g and returns copies of the results.
func (b batch) pass(g expert.Group) result {
	var r result
	y, saved := g.Forward(b.x, b.rows)
	r.y = dense(y)
	g.Params().Grad.Reset()
	r.dx = dense(g.Backward(saved, b.dy))
	r.grad = slices.Clone(g.Params().Grad.Total())
	g.Params().Grad.Reset()
	return r
}

// same fails unless got has the bits of want, or is near in a build whose products are not exact.
func (c check) same(want, got []float32, what string) {
	c.Helper()
	if !gemm.Exact {
		c.near(want, got, 1e-4, what)
		return
	}
	require.Len(c, got, len(want), what)
	for i, v := range want {
		require.Equal(c, math.Float32bits(v), math.Float32bits(got[i]), "%s: element %d is %v, want %v", what, i, got[i], v)
	}
}

// near fails unless got is want within the tolerance, relative for numbers beyond 1.
func (c check) near(want, got []float32, tolerance float64, what string) {
	c.Helper()
	require.Len(c, got, len(want), what)
	for i, v := range want {
		limit := tolerance * max(1, math.Abs(float64(v)))
		neartest.Number(c, float64(v), float64(got[i]), limit, "%s: element %d", what, i)
	}
}
