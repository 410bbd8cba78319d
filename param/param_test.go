package param_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/param"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestTensorsStandOneAfterTheOther(t *testing.T) {
	s := param.NewSet(param.Tensor{Name: "w", Shape: []int{2, 2, 3}}, param.Tensor{Name: "b", Shape: []int{2, 3}}, param.Tensor{Name: "none", Shape: []int{0, 4}})
	require.Len(t, s.Value, 12+6)
	for i := range s.Value {
		s.Value[i] = float32(i)
	}
	require.Equal(t, []float32{12, 13, 14, 15, 16, 17}, s.Of(s.Value, 1))
	require.Empty(t, s.Of(s.Value, 2))

	m := s.Matrix(s.Value, 0) // all but the last dimension are rows
	require.Equal(t, []int{4, 3, 3}, []int{m.Rows, m.Cols, m.Stride})
	second := s.Slice(s.Value, 0, 1)
	require.Equal(t, []int{2, 3, 3}, []int{second.Rows, second.Cols, second.Stride})
	require.Equal(t, []float32{6, 7, 8, 9, 10, 11}, second.Data)
	empty := s.Matrix(s.Value, 2)
	require.Equal(t, []int{0, 4}, []int{empty.Rows, empty.Cols})
}

func TestViewsAliasTheVectorTheyAreOf(t *testing.T) {
	s := param.NewSet(param.Tensor{Name: "w", Shape: []int{1, 2, 2}}, param.Tensor{Name: "b", Shape: []int{2}})
	leaf := s.Grad.Leaf(0)
	s.Slice(leaf, 0, 0).Data[3] = 5
	s.Of(leaf, 1)[0] = 7
	require.Equal(t, []float32{0, 0, 0, 5, 7, 0}, s.Grad.Total())
	require.Equal(t, make([]float32, 6), s.Value)
	require.Equal(t, 2, cap(s.Of(leaf, 1)), "a view must not grow into its neighbour")
	require.Equal(t, 4, cap(s.Of(leaf, 0)), "a view must not grow into its neighbour")
}

func TestAVectorOfAnotherLengthPanics(t *testing.T) {
	s := param.NewSet(param.Tensor{Name: "w", Shape: []int{2}})
	require.PanicsWithValue(t, "param: vector of 3 elements for a set of 2", func() { s.Of(make([]float32, 3), 0) })
}

func TestKindsHaveNames(t *testing.T) {
	require.Equal(t, param.Dense, param.NewSet().Kind)
	var names []string
	for k := param.Dense; k <= param.Bias; k++ {
		names = append(names, k.String())
	}
	require.Equal(t, []string{"dense", "gate", "expert", "shared", "gain", "bias"}, names)
	require.Equal(t, "kind 6", (param.Bias + 1).String())
	require.Equal(t, "kind -1", param.Kind(-1).String())
}
