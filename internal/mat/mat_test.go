package mat_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// TestResizeKeepsMemoryThatHasRoom and takes new memory only for more elements.
func TestResizeKeepsMemoryThatHasRoom(t *testing.T) {
	m := mat.Resize(blas32.General{}, 2, 3)
	require.Equal(t, []int{2, 3, 3, 6}, []int{m.Rows, m.Cols, m.Stride, len(m.Data)})
	m.Data[0] = 5
	smaller := mat.Resize(m, 1, 4)
	require.Equal(t, []int{1, 4, 4, 4}, []int{smaller.Rows, smaller.Cols, smaller.Stride, len(smaller.Data)})
	require.Same(t, &m.Data[0], &smaller.Data[0])
	require.Same(t, &m.Data[0], &mat.Resize(smaller, 3, 2).Data[0], "the whole capacity counts")
	require.Len(t, mat.Resize(m, 3, 3).Data, 9)
	require.Equal(t, make([]float32, 6), mat.Zero(m).Data)
}

// TestRowsShareMemory of a matrix whose stride is wider than its rows.
func TestRowsShareMemory(t *testing.T) {
	m := blas32.General{Rows: 3, Cols: 2, Stride: 3, Data: []float32{0, 1, -1, 10, 11, -1, 20, 21, -1}}
	require.Equal(t, []float32{10, 11}, mat.Row(m, 1))
	last := mat.Rows(m, 1, 3)
	require.Equal(t, []int{2, 2, 3}, []int{last.Rows, last.Cols, last.Stride})
	require.Equal(t, []float32{20, 21}, mat.Row(last, 1))
	mat.Row(last, 0)[0] = 7
	require.Equal(t, float32(7), m.Data[3])
	require.Zero(t, mat.Rows(m, 3, 3).Rows)
}

func TestSum(t *testing.T) {
	require.Zero(t, mat.Sum(nil))
	require.Equal(t, 6, mat.Sum([]int{1, 2, 3}))
}
