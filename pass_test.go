package switchyard

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/router"
)

// ofFive is a batch of five tokens in groups of two, of which the second and the last are padding.
func ofFive() (passShape, blas32.General, router.Batch) {
	x := mat.Resize(blas32.General{}, 5, 3)
	for i := range x.Data {
		x.Data[i] = float32(i)
	}
	side := router.Batch{Padding: []bool{false, true, false, false, true}, IDs: []int32{1, 2, 3, 4, 5}}
	return passShape{dim: 3, experts: 2, group: 2, train: true, step: 6}, x, side
}

// TestAPassReadsNoPadding: what the caller left there does not reach gates, and stays the caller's.
func TestAPassReadsNoPadding(t *testing.T) {
	shape, x, side := ofFive()
	x.Data[3] = float32(math.NaN())
	var spare spares
	p, err := newPass(shape, &spare, x, side)
	require.NoError(t, err)
	require.Equal(t, []float32{0, 1, 2, 0, 0, 0, 6, 7, 8, 9, 10, 11, 0, 0, 0}, p.x.Data)
	require.Equal(t, []int32{1, 0, 3, 4, 0}, p.side.IDs)
	require.Equal(t, []int32{1, 2, 3, 4, 5}, side.IDs)
	require.True(t, math.IsNaN(float64(x.Data[3])))
	require.Equal(t, []int{2, 4, 5}, p.ends)
	require.Equal(t, 3, p.real)
	require.True(t, p.side.Train)
	require.Equal(t, 6, p.side.Step)
	require.NoError(t, p.checkInput())
	p.release()
	require.Len(t, spare, 1, "the copy's memory")
	again, err := newPass(shape, &spare, x, side)
	require.NoError(t, err)
	require.Empty(t, spare)
	require.Same(t, &p.x.Data[0], &again.x.Data[0])
}

// TestAPassWithoutPaddingCopiesNothing, and finds what is not finite.
func TestAPassWithoutPaddingCopiesNothing(t *testing.T) {
	shape, x, _ := ofFive()
	var spare spares
	p, err := newPass(shape, &spare, x, router.Batch{})
	require.NoError(t, err)
	require.Same(t, &x.Data[0], &p.x.Data[0])
	x.Data[7] = float32(math.Inf(-1))
	require.ErrorIs(t, p.checkInput(), alltoall.ErrNotFinite)
	require.ErrorContains(t, p.checkInput(), "token 2, column 1 of x is -Inf")
}

// TestAPassCounts rows by expert and token group, tokens that no expert answers, and each group's
// share of the tokens, padding left out.
func TestAPassCounts(t *testing.T) {
	shape, x, side := ofFive()
	p, err := newPass(shape, new(spares), x, side)
	require.NoError(t, err)
	p.decision = &router.Decision{Assignment: router.Assignment{
		Tokens: 5, Experts: 2, Ends: []int{2, 3}, Token: []int32{0, 2, 2},
	}}
	want := alltoall.Counts{Tokens: 5, Padding: 2, Leaves: 3, Rows: []int{1, 1, 0, 0, 1, 0}}
	require.Equal(t, want, p.counts())
	require.Same(t, &p.counts().Rows[0], &p.counts().Rows[0], "they are counted once")
	require.Equal(t, 1, p.unanswered(), "token 3")
	p.batch.tokens = []int{3, 5}
	require.Equal(t, []float32{1. / 16, 2. / 16, 0}, p.lossScale(2))
	p.side.StepTokens = 10
	require.Equal(t, []float32{1. / 10, 2. / 10, 0}, p.lossScale(2))
}

// TestABatchThatCannotBe is refused before anything is made for it.
func TestABatchThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		change func(s *passShape, x *blas32.General, side *router.Batch)
		want   string
	}{
		{func(_ *passShape, x *blas32.General, _ *router.Batch) { x.Cols = 2 }, "x has "},
		{func(_ *passShape, _ *blas32.General, b *router.Batch) { b.Features.Rows = 1 }, "Features has "},
		{func(_ *passShape, _ *blas32.General, b *router.Batch) { b.Micro = -1 }, "Micro is -1 and StepTokens 0"},
		{func(_ *passShape, _ *blas32.General, b *router.Batch) { b.IDs = b.IDs[:4] }, "4 token numbers for 5 tokens"},
		{func(s *passShape, _ *blas32.General, _ *router.Batch) { s.group, s.experts = 1, alltoall.MaxCounts }, "5 tokens in 5 groups"},
	} {
		shape, x, side := ofFive()
		c.change(&shape, &x, &side)
		_, err := newPass(shape, new(spares), x, side)
		require.ErrorContains(t, err, c.want)
	}
}
