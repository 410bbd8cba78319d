package expert_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/alloctest"
)

func build(t testing.TB, kind expert.Expert, s expert.Shape) expert.Group {
	t.Helper()
	g, err := kind.New(s)
	require.NoError(t, err)
	return g
}

func TestNewReportsAllFaults(t *testing.T) {
	_, err := expert.FFN{Activation: 7, Workers: -1}.New(expert.Shape{Dim: -1, First: -2, Count: -3})
	require.EqualError(t, err, `expert: Shape.Dim is -1, must be at least 1
expert: Shape.First is -2, must be at least 0
expert: Shape.Count is -3, must be at least 0
expert: Hidden is 0, must be at least 1
expert: Workers is -1, must be at least 0
expert: Activation is Activation(7), must be relu or gelu`)
	_, err = expert.SwiGLU{}.New(expert.Shape{Dim: 1, Count: 1})
	require.EqualError(t, err, "expert: Hidden is 0, must be at least 1")
	_, err = expert.Identity{}.New(expert.Shape{Count: 1})
	require.EqualError(t, err, "expert: Shape.Dim is 0, must be at least 1")
}

func TestTensors(t *testing.T) {
	s := expert.Shape{Dim: 3, Count: 2}
	want := map[expert.Expert]map[string][]int{
		expert.SwiGLU{Hidden: 5}:            {"w_gate": {2, 3, 5}, "w_up": {2, 3, 5}, "w_down": {2, 5, 3}},
		expert.FFN{Hidden: 5}:               {"w1": {2, 3, 5}, "b1": {2, 5}, "w2": {2, 5, 3}, "b2": {2, 3}},
		expert.FFN{Hidden: 5, NoBias: true}: {"w1": {2, 3, 5}, "w2": {2, 5, 3}},
		expert.Identity{}:                   {},
	}
	for kind, tensors := range want {
		got := map[string][]int{}
		for _, tensor := range build(t, kind, s).Params().Tensors() {
			got[tensor.Name] = tensor.Shape
		}
		require.Equal(t, tensors, got)
	}
}

// TestInitialParameters pins numbers, which must be the same on every machine and in every version,
// and checks their distribution.
func TestInitialParameters(t *testing.T) {
	p := build(t, expert.SwiGLU{Hidden: 300}, expert.Shape{Dim: 100, First: 3, Count: 1, Seed: 7}).Params()
	require.Equal(t, pinned, p.Value[:len(pinned)])
	for i, fanIn := range []float64{100, 100, 300} {
		sum, square := 0.0, 0.0
		w := p.Of(p.Value, i)
		for _, v := range w {
			sum += float64(v)
			square += float64(v) * float64(v)
		}
		n := float64(len(w))
		require.InDelta(t, 0, sum/n*math.Sqrt(fanIn), 0.02)
		require.InDelta(t, 1, square/n*fanIn, 0.02)
	}
	b := build(t, expert.FFN{Hidden: 4}, expert.Shape{Dim: 2, Count: 2}).Params()
	require.Equal(t, make([]float32, 8), b.Of(b.Value, 1))
}

func TestMisuse(t *testing.T) {
	g := build(t, expert.FFN{Hidden: 3}, expert.Shape{Dim: 2, Count: 2})
	other := build(t, expert.FFN{Hidden: 3}, expert.Shape{Dim: 2, Count: 2})
	x := func(rows, cols int) blas32.General {
		return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)}
	}
	rows := func(ends ...int) expert.Rows { return expert.Rows{Experts: 2, Leaves: len(ends) / 2, Ends: ends} }
	require.PanicsWithValue(t, "expert: Forward: x has 1 rows of 3 columns, want 2 columns", func() { g.Forward(x(1, 3), rows(1, 1)) })
	require.PanicsWithValue(t, "expert: ends of rows do not rise from 0 to the input's 1 rows", func() { g.Forward(x(1, 2), rows(1, 0)) })
	require.PanicsWithValue(t, "expert: ends of rows do not rise from 0 to the input's 2 rows", func() { g.Forward(x(2, 2), rows(1, 1)) })
	require.PanicsWithValue(t, "expert: 3 ends of rows for 3 experts × 1 leaves on a rank of 2 experts",
		func() { g.Forward(x(1, 2), expert.Rows{Experts: 3, Leaves: 1, Ends: []int{0, 0, 1}}) })

	_, saved := g.Forward(x(1, 2), rows(1, 1))
	require.PanicsWithValue(t, "expert: backward of a pass of another group", func() { other.Backward(saved, x(1, 2)) })
	require.PanicsWithValue(t, "expert: Backward: dy has 2 rows, want 1", func() { g.Backward(saved, x(2, 2)) })
	g.Backward(saved, x(1, 2))
	require.PanicsWithValue(t, "expert: second backward of one pass", func() { g.Backward(saved, x(1, 2)) })

	halves := g.(expert.SplitBackward)
	_, saved = g.Forward(x(1, 2), rows(1, 1))
	early := "expert: BackwardWeights without the BackwardInput of that pass before"
	require.PanicsWithValue(t, early, func() { halves.BackwardWeights(saved) })
	halves.BackwardInput(saved, x(1, 2))
	require.PanicsWithValue(t, "expert: second backward of one pass", func() { g.Backward(saved, x(1, 2)) })
	g.Params().Grad.Reset()
	halves.BackwardWeights(saved)
	require.PanicsWithValue(t, early, func() { halves.BackwardWeights(saved) })
}

// TestWorkersChangeNothing uses rows enough for several goroutines.
func TestWorkersChangeNothing(t *testing.T) {
	r := seeded(t)
	const experts, each, dim = 5, 160, 64
	x, dy := random(r, experts*each, dim), random(r, experts*each, dim)
	rows := expert.Rows{Experts: experts, Leaves: 2}
	for e := range experts {
		rows.Ends = append(rows.Ends, e*each+r.IntN(each), (e+1)*each)
	}
	run := func(workers int) [3][]float32 {
		g := build(t, expert.SwiGLU{Hidden: 96, Workers: workers}, expert.Shape{Dim: dim, Count: experts})
		y, saved := g.Forward(x, rows)
		out := [3][]float32{append([]float32(nil), y.Data...)}
		out[1] = append(out[1], g.Backward(saved, dy).Data...)
		out[2] = append(out[2], g.Params().Grad.Total()...)
		return out
	}
	one := run(1)
	for _, workers := range []int{0, 2, 8} {
		require.Equal(t, one, run(workers))
	}
}

func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	r := seeded(t)
	for name, kind := range map[string]expert.Expert{
		"ffn":      expert.FFN{Hidden: 32, Activation: expert.GELU, Workers: 1},
		"swiglu":   expert.SwiGLU{Hidden: 32, Workers: 1},
		"identity": expert.Identity{},
	} {
		g := build(t, kind, expert.Shape{Dim: 16, Count: 2})
		x, dy := random(r, 40, 16), random(r, 40, 16)
		rows := expert.Rows{Experts: 2, Leaves: 2, Ends: []int{10, 20, 30, 40}}
		allocs := alloctest.Least(60, func() {
			_, a := g.Forward(x, rows)
			_, b := g.Forward(x, rows)
			g.Backward(a, dy)
			g.Params().Grad.Reset()
			g.Backward(b, dy)
			g.Params().Grad.Reset()
		})
		require.Zero(t, allocs, name)
	}
}

// pinned is the first numbers of w_gate of expert 3 from seed 7.
var pinned = []float32{-0.06355261, 0.08154186, 0.14266288, 0.13903645}
