package router

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/neartest"
	"gonum.org/v1/gonum/blas/blas32"
)

// TestPaddingIsAsIfItWereNotThere compares a padded batch with one from which the padding was taken
// before.
func TestPaddingIsAsIfItWereNotThere(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const rows, dim = 40, 5
	x := blas32.General{Rows: rows, Cols: dim, Stride: dim, Data: make([]float32, rows*dim)}
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	b := Batch{Ends: []int{13, 13, 20, rows}, Train: true, Padding: make([]bool, rows)}
	real, short := blas32.General{Cols: dim, Stride: dim}, Batch{Train: true, Ends: make([]int, 4)}
	var rowOf []int
	for i := range b.Padding {
		if b.Padding[i] = r.IntN(3) == 0; !b.Padding[i] {
			rowOf, real.Data = append(rowOf, i), append(real.Data, mat.Row(x, i)...)
			real.Rows++
		}
		for g, end := range b.Ends {
			if i == end-1 {
				short.Ends[g] = real.Rows
			}
		}
	}
	short.Ends[1] = short.Ends[0]
	for drop := range Drop(drops - 1) {
		config := TopK{K: 2, Score: Sigmoid, CapacityFactor: 1, Drop: drop, Losses: []Loss{Balance(1), ZLoss(1), SwitchLoss(1), ImportanceLoss(1), GlobalBalance(1)}}
		pass := func(x blas32.General, b Batch) (*Decision, []float32, []float32) {
			g, err := config.New(Shape{Dim: dim, Experts: 6, Seed: seed})
			require.NoError(t, err)
			d, err := g.Route(x, b)
			require.NoError(t, err)
			kept := &Decision{Assignment: d.Assignment.Clone(), GroupLoss: append([]float64(nil), d.GroupLoss...)}
			grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{1, 2, 3, 4}, DX: blas32.General{Rows: x.Rows, Cols: dim, Stride: dim, Data: make([]float32, x.Rows*dim)}}
			for i := range grad.Weights {
				grad.Weights[i] = float32(i%7) - 3
			}
			require.NoError(t, g.Backward(d, x, grad))
			return kept, grad.DX.Data, g.Params().Grad.Total()
		}
		got, dx, dp := pass(x, b)
		want, shortDX, shortDP := pass(real, short)
		require.Equal(t, want.Ends, got.Ends)
		require.Equal(t, want.Weight, got.Weight)
		require.Equal(t, want.GroupLoss, got.GroupLoss)
		for i, token := range want.Token {
			require.EqualValues(t, rowOf[token], got.Token[i])
		}
		for i, r := range rowOf {
			require.Equal(t, shortDX[i*dim:(i+1)*dim], dx[r*dim:(r+1)*dim])
		}
		require.Equal(t, shortDP, dp)
	}
}

func TestMisusedPadding(t *testing.T) {
	g := gateWith(t, TopK{K: 1}, [][]float64{{1, 2}, {3, 4}})
	require.PanicsWithValue(t, "router: 1 marks of padding for 2 tokens", func() {
		_, _ = g.Route(identity(2), Batch{Ends: []int{2}, Padding: []bool{true}})
	})
}

// TestGlobalBalance compares token groups whose counts are told with the balance loss of all of
// them as one group.
func TestGlobalBalance(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	logits := randomLogits(rand.New(rand.NewPCG(seed, 0)), 12, 4)
	whole := gateWith(t, TopK{K: 2, Losses: []Loss{Balance(0.5)}}, logits)
	d, err := whole.Route(identity(12), Batch{Ends: []int{12}})
	require.NoError(t, err)
	want, counts := d.GroupLoss[0], append([]int(nil), d.Counts...)
	grad := Gradient{Weights: make([]float32, 24), LossScale: []float32{1}, DX: identity(12)}
	require.NoError(t, whole.Backward(d, identity(12), grad))

	// Two ranks of two token groups each.
	sum, dlogits := 0.0, []float32{}
	for rank := range 2 {
		half := logits[rank*6 : rank*6+6]
		g := gateWith(t, TopK{K: 2, Losses: []Loss{GlobalBalance(0.5)}}, half).(GlobalCounter)
		require.True(t, g.WantsCounts())
		d, err := g.Route(identity(6), Batch{Ends: []int{2, 6}})
		require.NoError(t, err)
		g.SetCounts(d, counts, 12)
		sum += d.GroupLoss[0]*2/12 + d.GroupLoss[1]*4/12
		grad := Gradient{Weights: make([]float32, 12), LossScale: []float32{2. / 12, 4. / 12}, DX: identity(6)}
		require.NoError(t, g.Backward(d, identity(6), grad))
		dlogits = append(dlogits, g.Params().Grad.Total()...)
	}
	require.InDelta(t, want, sum, 1e-9)
	neartest.Equal(t, whole.Params().Grad.Total(), dlogits, 1e-6)
	require.False(t, whole.(GlobalCounter).WantsCounts())
}
