package batch

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/router"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// ofFive is a batch of five tokens in groups of two, of which the second and the last are padding.
func ofFive() (Shape, blas32.General, router.Batch) {
	x := mat.Resize(blas32.General{}, 5, 3)
	for i := range x.Data {
		x.Data[i] = float32(i)
	}
	info := router.Batch{Padding: []bool{false, true, false, false, true}, IDs: []int32{1, 2, 3, 4, 5}}
	return Shape{Dim: 3, Experts: 2, Group: 2, Train: true, Step: 6}, x, info
}

// TestPaddingIsNotRead: what the caller left there does not reach gates, and stays the caller's.
func TestPaddingIsNotRead(t *testing.T) {
	shape, x, info := ofFive()
	x.Data[3] = float32(math.NaN())
	var pool Pool
	b, err := New(shape, &pool, x, info)
	require.NoError(t, err)
	require.Equal(t, []float32{0, 1, 2, 0, 0, 0, 6, 7, 8, 9, 10, 11, 0, 0, 0}, b.X.Data)
	require.Equal(t, []int32{1, 0, 3, 4, 0}, b.Info.IDs)
	require.Equal(t, []int32{1, 2, 3, 4, 5}, info.IDs)
	require.True(t, math.IsNaN(float64(x.Data[3])))
	require.Equal(t, []int{2, 4, 5}, b.Info.Ends)
	require.Equal(t, 3, b.Real)
	require.True(t, b.Info.Train)
	require.Equal(t, 6, b.Info.Step)
	require.NoError(t, b.CheckFinite())
	b.Release()
	given := pool.list.Take()
	require.NotNil(t, given, "the copy's memory")
	pool.list.Give(given)
	again, err := New(shape, &pool, x, info)
	require.NoError(t, err)
	require.Nil(t, pool.list.Take())
	require.Same(t, &b.X.Data[0], &again.X.Data[0])
	require.Empty(t, again.WithoutPadding(blas32.General{}).Data)
}

// TestWithoutPaddingNothingIsCopied, and what is not finite is found.
func TestWithoutPaddingNothingIsCopied(t *testing.T) {
	shape, x, info := ofFive()
	info.Padding = nil
	b, err := New(shape, new(Pool), x, info)
	require.NoError(t, err)
	require.Same(t, &x.Data[0], &b.X.Data[0])
	require.Same(t, &info.IDs[0], &b.Info.IDs[0])
	x.Data[7] = float32(math.Inf(-1))
	require.ErrorIs(t, b.CheckFinite(), alltoall.ErrNotFinite)
	require.ErrorContains(t, b.CheckFinite(), "token 2, column 1 of x is -Inf")
}

// TestZerosInPaddingAreNotCopied: a list that needs no change stays the caller's.
func TestZerosInPaddingAreNotCopied(t *testing.T) {
	shape, x, info := ofFive()
	info.IDs[1], info.IDs[4] = 0, 0
	b, err := New(shape, new(Pool), x, info)
	require.NoError(t, err)
	require.Same(t, &info.IDs[0], &b.Info.IDs[0])
}

// TestARankWithoutTokens has a matrix of the right width, and no groups.
func TestARankWithoutTokens(t *testing.T) {
	b, err := New(Shape{Dim: 3, Experts: 2}, new(Pool), blas32.General{}, router.Batch{})
	require.NoError(t, err)
	require.Equal(t, blas32.General{Cols: 3, Stride: 3}, b.X)
	require.Empty(t, b.Info.Ends)
	require.Empty(t, b.LossScale(Global{Tokens: []int{0, 4}}, 1))
}

// TestLossScale is each token group's share of the tokens, padding left out.
func TestLossScale(t *testing.T) {
	shape, x, info := ofFive()
	b, err := New(shape, new(Pool), x, info)
	require.NoError(t, err)
	global := Global{Tokens: []int{3, 5}}
	require.Equal(t, []float32{1. / 16, 2. / 16, 0}, b.LossScale(global, 2))
	b.Info.StepTokens = 10
	require.Equal(t, []float32{1. / 10, 2. / 10, 0}, b.LossScale(global, 2))
}

// TestABatchThatCannotBe is an error before anything is made for it.
func TestABatchThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		change func(s *Shape, x *blas32.General, info *router.Batch)
		want   string
	}{
		{func(_ *Shape, x *blas32.General, _ *router.Batch) { x.Cols = 2 }, "x has "},
		{func(_ *Shape, _ *blas32.General, b *router.Batch) { b.Features.Rows = 1 }, "Features has "},
		{func(_ *Shape, _ *blas32.General, b *router.Batch) { b.Micro = -1 }, "Micro is -1 and StepTokens 0"},
		{func(_ *Shape, _ *blas32.General, b *router.Batch) { b.IDs = b.IDs[:4] }, "4 token numbers for 5 tokens"},
		{func(s *Shape, _ *blas32.General, _ *router.Batch) { s.Group, s.Experts = 1, alltoall.MaxCounts }, "5 tokens in 5 groups"},
	} {
		shape, x, info := ofFive()
		c.change(&shape, &x, &info)
		_, err := New(shape, new(Pool), x, info)
		require.ErrorContains(t, err, c.want)
	}
}

// TestRepeats: the same batch in other memory is the same; one that differs in anything is not.
func TestRepeats(t *testing.T) {
	of := func(change func(x *blas32.General, info *router.Batch)) *Tokens {
		shape, x, info := ofFive()
		info.Features = mat.Resize(blas32.General{}, 5, 1)
		change(&x, &info)
		b, err := New(shape, new(Pool), x, info)
		require.NoError(t, err)
		return &b
	}
	same := func(*blas32.General, *router.Batch) {}
	require.True(t, of(same).Repeats(of(same)))
	for name, change := range map[string]func(x *blas32.General, info *router.Batch){
		"a number":   func(x *blas32.General, _ *router.Batch) { x.Data[6]++ },
		"the sign":   func(x *blas32.General, _ *router.Batch) { x.Data[0] = float32(math.Copysign(0, -1)) },
		"micro":      func(_ *blas32.General, b *router.Batch) { b.Micro = 1 },
		"tokens":     func(_ *blas32.General, b *router.Batch) { b.StepTokens = 9 },
		"gate":       func(_ *blas32.General, b *router.Batch) { b.Gate = 1 },
		"sequences":  func(_ *blas32.General, b *router.Batch) { b.Sequences = []int{5} },
		"padding":    func(_ *blas32.General, b *router.Batch) { b.Padding[0] = true },
		"modality":   func(_ *blas32.General, b *router.Batch) { b.Modality = make([]int32, 5) },
		"IDs":        func(_ *blas32.General, b *router.Batch) { b.IDs[0] = 7 },
		"features":   func(_ *blas32.General, b *router.Batch) { b.Features.Data[0] = 1 },
		"no feature": func(_ *blas32.General, b *router.Batch) { b.Features = blas32.General{} },
	} {
		require.False(t, of(change).Repeats(of(same)), name)
	}
	changed := of(func(_ *blas32.General, b *router.Batch) { b.Padding = nil })
	changed.X.Data[0]++
	later := *changed
	require.False(t, later.Repeats(changed), "x is not what it was in the earlier pass")
}

func TestCheckGradient(t *testing.T) {
	shape, x, _ := ofFive()
	b, err := New(shape, new(Pool), x, router.Batch{})
	require.NoError(t, err)
	dy := mat.Resize(blas32.General{}, 5, 3)
	require.NoError(t, b.CheckGradient(dy))
	require.ErrorContains(t, b.CheckGradient(mat.Rows(dy, 0, 4)), "dy has 4 rows, want 5 as the last Forward's x")
	require.ErrorContains(t, b.CheckGradient(mat.Resize(blas32.General{}, 5, 2)), "dy has ")
	x.Data[14]++
	require.ErrorContains(t, b.CheckGradient(dy), "x has been changed since Forward")
}

// TestGlobal is filled from the plan of a dispatch unless the ranks have told each other before.
func TestGlobal(t *testing.T) {
	plan := &alltoall.Plan{Tokens: []int{5, 0, 7}, Padding: []int{2, 0, 0}, Leaves: []int{3, 0, 1}}
	g := Global{First: 2}
	g.FillFromPlan(plan)
	plan.Leaves[0] = 99
	require.Equal(t, Global{Tokens: []int{3, 0, 7}, Leaves: []int{3, 0, 1}, First: 2}, g)
	require.Equal(t, 3, g.FirstLeaf(2))
	require.Equal(t, 10, g.TotalTokens())
	told := Global{Tokens: []int{1}, Leaves: []int{1}}
	told.FillFromPlan(plan)
	require.Equal(t, Global{Tokens: []int{1}, Leaves: []int{1}}, told)
}

func TestGroupEnds(t *testing.T) {
	require.Equal(t, []int{}, groupEnds(0, 4))
	require.Equal(t, []int{}, groupEnds(0, 0))
	require.Equal(t, []int{7}, groupEnds(7, 0))
	require.Equal(t, []int{4, 7}, groupEnds(7, 4))
	require.Equal(t, []int{4, 8}, groupEnds(8, 4))
	require.Equal(t, []int{1}, groupEnds(1, 4))
}
