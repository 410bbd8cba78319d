package experttest

import (
	"slices"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
)

func shapes(c check) {
	g, b := c.usual(), c.batch(2)
	for i, t := range g.Params().Tensors() {
		require.Equal(c, count, t.Shape[0], "first dimension of %s", t.Name)
		require.Len(c, g.Params().Of(g.Params().Value, i), t.Len())
	}
	y, saved := g.Forward(b.x, b.rows)
	require.Equal(c, [2]int{b.x.Rows, dim}, [2]int{y.Rows, y.Cols})
	dx := g.Backward(saved, b.dy)
	require.Equal(c, [2]int{b.x.Rows, dim}, [2]int{dx.Rows, dx.Cols})
}

func empty(c check) {
	none := blas32.General{Cols: dim, Stride: dim}
	for leaves := range 3 {
		rows := expert.Rows{Experts: count, Leaves: leaves, Ends: make([]int, count*leaves)}
		b := batch{x: none, dy: none, rows: rows}
		r := b.pass(c.usual())
		require.Empty(c, r.y)
		require.Empty(c, r.dx)
		for _, v := range r.grad {
			require.Zero(c, v)
		}
	}
	g := c.group(expert.Shape{Dim: dim})
	r := batch{x: none, dy: none, rows: expert.Rows{Leaves: 2}}.pass(g)
	require.Empty(c, r.y)
	onlyLast := batch{x: c.matrix(2, dim), dy: c.matrix(2, dim), rows: expert.Rows{Experts: count, Leaves: 1, Ends: []int{0, 0, 2}}}
	require.Len(c, onlyLast.pass(c.usual()).y, 2*dim)
}

func initialParameters(c check) {
	all := c.group(expert.Shape{Dim: dim, Count: 5, Seed: 3}).Params()
	again := c.group(expert.Shape{Dim: dim, Count: 5, Seed: 3}).Params()
	require.Equal(c, all.Value, again.Value)
	some := c.group(expert.Shape{Dim: dim, First: 2, Count: 2, Seed: 3}).Params()
	for i, t := range all.Tensors() {
		each := t.Len() / 5
		require.Equal(c, all.Of(all.Value, i)[2*each:4*each], some.Of(some.Value, i), t.Name)
	}
	if !alike(all) { // those that are may be constants
		other := c.group(expert.Shape{Dim: dim, Count: 5, Seed: 4}).Params()
		require.NotEqual(c, all.Value, other.Value)
	}
}

// alike tells whether all experts of p have the same parameters.
func alike(p *param.Set) bool {
	for i, t := range p.Tensors() {
		values, each := p.Of(p.Value, i), t.Len()/t.Shape[0]
		if !slices.Equal(values[each:], values[:len(values)-each]) {
			return false
		}
	}
	return true
}

func rowIndependence(c check) {
	g, b := c.usual(), c.batch(2)
	whole := b.pass(g)
	for e := range count {
		begin, end := b.rows.Of(e)
		for i := begin; i < end; i++ {
			alone := batch{x: pick(b.x, []int{i}), dy: pick(b.dy, []int{i}), rows: expert.Rows{Experts: count, Leaves: 1}}
			for f := range count {
				alone.rows.Ends = append(alone.rows.Ends, min(1, max(0, f-e+1)))
			}
			r := alone.pass(g)
			c.same(whole.y[i*dim:(i+1)*dim], r.y, "answer")
			c.same(whole.dx[i*dim:(i+1)*dim], r.dx, "gradient of the input")
		}
	}
}

// strided returns m with other numbers between its rows, in memory that ends with its last element.
func strided(m blas32.General, gap int) blas32.General {
	out := blas32.General{Rows: m.Rows, Cols: m.Cols, Stride: m.Cols + gap}
	for i := range m.Rows {
		out.Data = append(out.Data, pick(m, []int{i}).Data...)
		if i < m.Rows-1 {
			out.Data = append(out.Data, slices.Repeat([]float32{1e30}, gap)...)
		}
	}
	return out
}

func strides(c check) {
	g, b := c.usual(), c.batch(2)
	want := b.pass(g)
	b.x, b.dy = strided(b.x, 3), strided(b.dy, 5)
	got := b.pass(g)
	c.same(want.y, got.y, "answers")
	c.same(want.dx, got.dx, "gradient of the input")
	c.same(want.grad, got.grad, "gradient of the parameters")
}

func untouched(c check) {
	g, b := c.usual(), c.batch(2)
	before := batch{x: blas32.General{Data: slices.Clone(b.x.Data)}, dy: blas32.General{Data: slices.Clone(b.dy.Data)}}
	ends, value := slices.Clone(b.rows.Ends), slices.Clone(g.Params().Value)
	b.pass(g)
	require.Equal(c, before.x.Data, b.x.Data)
	require.Equal(c, before.dy.Data, b.dy.Data)
	require.Equal(c, ends, b.rows.Ends)
	require.Equal(c, value, g.Params().Value)
}

// exchangedValues gives a group the memory of the parameters of one of other numbers, whose changes
// it then follows, forward and backward.
func exchangedValues(c check) {
	g, b := c.usual(), c.batch(2)
	other := c.group(expert.Shape{Dim: dim, Count: count, Seed: 11})
	if g.Params() == nil || len(g.Params().Value) == 0 {
		return
	}
	other.Params().Value = g.Params().Value
	for i := range g.Params().Value {
		g.Params().Value[i] = c.rng.Float32() - 0.5
	}
	want, got := b.pass(g), b.pass(other)
	c.same(want.y, got.y, "answers")
	c.same(want.dx, got.dx, "gradient of the input")
	c.same(want.grad, got.grad, "gradient of the parameters")
}
