package router

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// slowSoft is SoftMoE with experts that multiply slot rows by the slot's expert plus one, in
// float64.
type slowSoft struct {
	dim, experts, slots int
	phi                 []float64
}

// loss is Σ y·dy, by token group.
func (s *slowSoft) loss(x [][]float64, b Batch, dy [][]float64) float64 {
	total, begin := 0.0, 0
	for _, end := range b.Ends {
		var tokens []int
		for t := begin; t < end; t++ {
			if !b.Padding[t] {
				tokens = append(tokens, t)
			}
		}
		total += s.group(x, tokens, dy)
		begin = end
	}
	return total
}

func (s *slowSoft) group(x [][]float64, tokens []int, dy [][]float64) float64 {
	n := s.experts * s.slots
	exps, perSlot, perToken := map[int][]float64{}, make([]float64, n), map[int]float64{}
	for _, t := range tokens {
		exps[t] = slowProduct(x[t], s.phi, n)
		for j, v := range exps[t] {
			exps[t][j] = math.Exp(v)
			perSlot[j] += exps[t][j]
			perToken[t] += exps[t][j]
		}
	}
	total := 0.0
	for j := range n {
		row := make([]float64, s.dim)
		for _, t := range tokens {
			for c, v := range x[t] {
				row[c] += exps[t][j] / perSlot[j] * v * float64(j/s.slots+1)
			}
		}
		for _, t := range tokens {
			for c, v := range row {
				total += exps[t][j] / perToken[t] * v * dy[t][c]
			}
		}
	}
	return total
}

// TestSoftMoEReference takes tokens all the way through a mixture and back, and compares with
// differences of the slow one.
func TestSoftMoEReference(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const tokens, dim, experts, slots = 13, 4, 3, 2
	g, err := SoftMoE{Slots: slots}.New(Shape{Dim: dim, Experts: experts, Seed: seed})
	require.NoError(t, err)
	b := Batch{Ends: []int{5, 5, 7, tokens}, Train: true, Padding: make([]bool, tokens)}
	// The third token group has no token left.
	b.Padding[1], b.Padding[5], b.Padding[6], b.Padding[12] = true, true, true, true
	x, dy := strided(r, tokens, dim), strided(r, tokens, dim)
	slow := &slowSoft{dim, experts, slots, nil}
	for _, v := range g.Params().Value {
		slow.phi = append(slow.phi, float64(v))
	}
	slowX, slowDY := widen(x), widen(dy)

	for range 2 { // the second time in used memory
		d, err := g.Route(x, b)
		require.NoError(t, err)
		require.NoError(t, d.Validate())
		require.Equal(t, 2*experts*slots, d.NumRows())
		require.Equal(t, []int{4, 4, 4}, d.Counts)
		counts := make([]int, experts*len(b.Ends))
		d.CountRows(counts, b.Ends)
		require.Equal(t, []int{2, 0, 0, 2, 2, 0, 0, 2, 2, 0, 0, 2}, counts)

		rows, y := dense(d.NumRows(), dim, make([]float32, d.NumRows()*dim)), strided(r, tokens, dim)
		d.Order(rows, x)
		scaleByExpert(rows, experts)
		d.Restore(y, rows)
		require.InDelta(t, slow.loss(slowX, b, slowDY), total(y, dy), 1e-4)
		require.Equal(t, make([]float32, dim), mat.Row(y, 1), "padding gets zeros")

		grad := Gradient{Weights: make([]float32, d.NumWeights()), DX: dense(tokens, dim, make([]float32, tokens*dim)), LossScale: make([]float32, 4)}
		d.RestoreBackward(rows, grad.Weights, rows, dy)
		scaleByExpert(rows, experts)
		d.OrderBackward(grad.DX, rows)
		grad.Rows = rows
		require.NoError(t, g.Backward(d, x, grad))
		compareSoft(t, slow, slowX, slowDY, b, grad.DX, g.Params().Grad.Total())
		g.Params().Grad.Reset()
	}
}

func compareSoft(t *testing.T, slow *slowSoft, x, dy [][]float64, b Batch, dx blas32.General, dphi []float32) {
	const step = 1e-5
	difference := func(v *float64) float64 {
		*v += step
		above := slow.loss(x, b, dy)
		*v -= 2 * step
		below := slow.loss(x, b, dy)
		*v += step
		return (above - below) / (2 * step)
	}
	for i := range x {
		for c := range x[i] {
			require.InDelta(t, difference(&x[i][c]), float64(mat.Row(dx, i)[c]), 1e-4, "token %d, column %d", i, c)
		}
	}
	for i := range slow.phi {
		require.InDelta(t, difference(&slow.phi[i]), float64(dphi[i]), 1e-4, "phi %d", i)
	}
}

// scaleByExpert multiplies each expert's rows by its number, from 1.
func scaleByExpert(rows blas32.General, experts int) {
	for i := range rows.Rows {
		for c := range rows.Cols {
			rows.Data[i*rows.Stride+c] *= float32(i/(rows.Rows/experts) + 1)
		}
	}
}

func widen(m blas32.General) [][]float64 {
	list := make([][]float64, m.Rows)
	for i := range list {
		for _, v := range mat.Row(m, i) {
			list[i] = append(list[i], float64(v))
		}
	}
	return list
}

func total(x, y blas32.General) float64 {
	s := 0.0
	for i := range x.Rows {
		s += dot(mat.Row(x, i), mat.Row(y, i))
	}
	return s
}

// TestSoftMoEGroupsAreIndependent: a token group's rows and outputs have the bits that it has
// alone.
func TestSoftMoEGroupsAreIndependent(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	const dim, experts, slots = 5, 4, 3
	x := strided(r, 12, dim)
	route := func(x blas32.General, ends []int) ([]float32, []float32) {
		g, err := SoftMoE{Slots: slots}.New(Shape{Dim: dim, Experts: experts, Seed: 1})
		require.NoError(t, err)
		d, err := g.Route(x, Batch{Ends: ends})
		require.NoError(t, err)
		rows, y := dense(d.NumRows(), dim, make([]float32, d.NumRows()*dim)), dense(x.Rows, dim, make([]float32, x.Rows*dim))
		d.Order(rows, x)
		d.Restore(y, rows)
		return rows.Data, y.Data
	}
	rows, y := route(x, []int{4, 12})
	firstRows, firstY := route(mat.Rows(x, 0, 4), []int{4})
	lastRows, lastY := route(mat.Rows(x, 4, 12), []int{8})
	require.Equal(t, y, append(firstY, lastY...))
	const each = slots * dim
	for e := range experts {
		require.Equal(t, firstRows[e*each:(e+1)*each], rows[2*e*each:(2*e+1)*each])
		require.Equal(t, lastRows[e*each:(e+1)*each], rows[(2*e+1)*each:(2*e+2)*each])
	}
}

func TestSoftMoEMisuse(t *testing.T) {
	_, err := SoftMoE{Slots: -1}.New(Shape{})
	require.ErrorContains(t, err, "-1 slots")
	require.ErrorContains(t, err, "0 experts")
	g, err := SoftMoE{}.New(Shape{Dim: 3, Experts: 2})
	require.NoError(t, err)
	x := identity(3)
	d, err := g.Route(x, Batch{Ends: []int{3}})
	require.NoError(t, err)
	require.Equal(t, 2, d.NumRows(), "one slot unless told otherwise")
	require.PanicsWithValue(t, "router: Order: 3 rows for 2 slots", func() { d.Order(x, x) })
	require.Panics(t, func() { _ = g.Backward(d, x, Gradient{DX: x}) })
	x.Data[4] = float32(math.NaN())
	_, err = g.Route(x, Batch{Ends: []int{3}})
	require.ErrorContains(t, err, "token 1")

	d, err = g.Route(blas32.General{}, Batch{})
	require.NoError(t, err)
	require.Zero(t, d.NumRows())
	require.NoError(t, g.Backward(d, blas32.General{}, Gradient{}))
	clone := d.Mixture.Clone()
	require.Equal(t, 1, clone.Slots)
}
