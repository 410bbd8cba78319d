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

// TestRowsOfAMatrixWithoutPaddingAtItsEnd, whose last row is shorter than the stride.
func TestRowsOfAMatrixWithoutPaddingAtItsEnd(t *testing.T) {
	m := blas32.General{Rows: 2, Cols: 1, Stride: 3, Data: []float32{1, 0, 0, 2}}
	require.Equal(t, blas32.General{Rows: 1, Cols: 1, Stride: 3, Data: []float32{2}}, mat.Rows(m, 1, 2))
	require.Equal(t, blas32.General{Cols: 1, Stride: 3}, mat.Rows(m, 2, 2))
}

func TestCopyLeavesWhatIsBetweenRows(t *testing.T) {
	dst := blas32.General{Rows: 2, Cols: 1, Stride: 2, Data: []float32{0, 7, 0}}
	mat.Copy(dst, blas32.General{Rows: 2, Cols: 1, Stride: 1, Data: []float32{1, 2}})
	require.Equal(t, []float32{1, 7, 2}, dst.Data)
}

// TestBufferKeepsItsMemory for smaller matrices and for slightly larger ones.
func TestBufferKeepsItsMemory(t *testing.T) {
	var b mat.Buffer
	first := b.Matrix(4, 2)
	require.Equal(t, []int{4, 2, 2, 8, 8}, []int{first.Rows, first.Cols, first.Stride, len(first.Data), cap(first.Data)})
	require.Same(t, &first.Data[0], &b.Matrix(1, 3).Data[0])
	require.Same(t, &first.Data[0], &b.Matrix(5, 2).Data[0])
	require.Equal(t, 11, len(b.Matrix(11, 1).Data))
	require.Equal(t, blas32.General{Rows: 3, Stride: 1, Data: []float32{}}, b.Matrix(3, 0))
}

func TestReuse(t *testing.T) {
	s := mat.Reuse([]int32(nil), 8)
	require.Len(t, s, 8)
	require.Equal(t, 10, cap(s))
	require.Same(t, &s[0], &mat.Reuse(s[:0], 10)[0])
	require.Len(t, mat.Reuse(s, 11), 11)
}
