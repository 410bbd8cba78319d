package check

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

func TestMatrix(t *testing.T) {
	data := func(n int) []float32 { return make([]float32, n) }
	for _, right := range []blas32.General{
		{}, {Cols: 3, Stride: 3}, {Stride: -1, Cols: 1 << 40},
		{Rows: 2, Cols: 3, Stride: 3, Data: data(6)}, {Rows: 2, Cols: 3, Stride: 5, Data: data(8)}, {Rows: 1, Cols: 3, Stride: math.MaxInt, Data: data(3)},
	} {
		require.NoError(t, Matrix(right, 3), "%+v", right)
	}
	for want, wrong := range map[string]blas32.General{
		"-1 rows, want 0 or more":                                                                {Rows: -1, Cols: 3, Stride: 3, Data: data(9)},
		"2 rows of 4 columns, want 3 columns":                                                    {Rows: 2, Cols: 4, Stride: 4, Data: data(8)},
		"2 rows of -3 columns, want 3 columns":                                                   {Rows: 2, Cols: -3, Stride: 3, Data: data(6)},
		"2 rows of 3 columns with stride 0, want a stride of 3 or more":                          {Rows: 2, Cols: 3, Data: data(6)},
		"2 rows of 3 columns with stride 2, want a stride of 3 or more":                          {Rows: 2, Cols: 3, Stride: 2, Data: data(6)},
		"2 rows of 3 columns with stride 3, but 5 elements, which are too few":                   {Rows: 2, Cols: 3, Stride: 3, Data: data(5)},
		"1 rows of 3 columns with stride 3, but 0 elements, which are too few":                   {Rows: 1, Cols: 3, Stride: 3},
		"1099511627776 rows of 3 columns with stride 3, but 6 elements, which are too few":       {Rows: 1 << 40, Cols: 3, Stride: 3, Data: data(6)},
		"4611686018427387905 rows of 3 columns with stride 4, but 6 elements, which are too few": {Rows: 1<<62 + 1, Cols: 3, Stride: 4, Data: data(6)},
		"2 rows of 3 columns with stride 9223372036854775807, but 6 elements, which are too few": {Rows: 2, Cols: 3, Stride: math.MaxInt, Data: data(6)},
		"9223372036854775807 rows of 3 columns with stride 3, but 9 elements, which are too few": {Rows: math.MaxInt, Cols: 3, Stride: 3, Data: data(9)},
	} {
		require.EqualError(t, Matrix(wrong, 3), want)
	}
	require.EqualError(t, AnyMatrix(blas32.General{Rows: 1, Data: data(1)}), "1 rows of 0 columns, want 1 column or more")
	require.NoError(t, AnyMatrix(blas32.General{Rows: 1, Cols: 7, Stride: 7, Data: data(7)}))
}

func TestSizes(t *testing.T) {
	require.NoError(t, Size(1, 1))
	require.NoError(t, Size(MaxSize, 1))
	require.EqualError(t, Size(0, 1), "0, must be at least 1")
	require.EqualError(t, Size(1<<40, 1), "1099511627776, must be at most 16777216")
	require.NoError(t, Elements([]int{3, 4}, nil, []int{0, 1 << 40}))
	require.NoError(t, Elements([]int{1 << 17, 1 << 17}))
	require.ErrorContains(t, Elements([]int{1 << 17, 1 << 17, 2}), "more than 17179869184 elements")
	require.ErrorContains(t, Elements([]int{1 << 32, 1 << 32}), "more than 17179869184 elements", "a product that overflows to 0")
	require.ErrorContains(t, Elements([]int{1 << 17, 1 << 17}, []int{1}), "more than 17179869184 elements")
	require.ErrorContains(t, Elements([]int{-1, -1}), "negative")
}

func TestNil(t *testing.T) {
	type named struct{}
	for _, is := range []any{nil, (*named)(nil), (func())(nil), map[int]int(nil)} {
		require.True(t, Nil(is), "%T", is)
	}
	for _, not := range []any{named{}, &named{}, 0, []int(nil), func() {}} {
		require.False(t, Nil(not), "%T", not)
	}
}
