package alltoall_test

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// TestFiniteNamesRowAndColumn has rank 1 of two send a number that is not finite in each of the
// three ways, and a NaN in a row that no expert gets.
func TestFiniteNamesRowAndColumn(t *testing.T) {
	nan := float32(math.NaN())
	counts := alltoall.Counts{Tokens: 3, Leaves: 1, Rows: []int{1, 1}}
	for name, try := range map[string]func(x *alltoall.Exchange, me int) error{
		"#1: the batch was refused: not a finite number: row 2, column 1 is NaN": func(x *alltoall.Exchange, me int) error {
			tokens := blas32.General{Rows: 3, Cols: dim, Stride: dim, Data: make([]float32, 3*dim)}
			tokens.Data[2*dim], tokens.Data[2*dim+1] = 1, nan
			_, err := x.Begin(context.Background(), alltoall.Request{Counts: counts, Rows: tokens, Token: []int32{0, int32(2 * me)}})
			require.ErrorIs(t, err, alltoall.ErrRefused, "rank %d", me)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
			return err
		},
		"combine #3: not a finite number: row 1, column 0 is +Inf": func(x *alltoall.Exchange, me int) error {
			tokens := blas32.General{Rows: 2, Cols: dim, Stride: dim, Data: make([]float32, 2*dim)}
			h, in, err := whole(context.Background(), x, alltoall.Request{Counts: counts, Rows: tokens})
			require.NoError(t, err)
			if me == 0 {
				return nil
			}
			in.Data[0], in.Data[dim] = 1, float32(math.Inf(1))
			_, err = h.Combine(context.Background(), 0, in)
			return err
		},
		"dispatch #4: not a finite number: row 0, column 2 is -Inf": func(x *alltoall.Exchange, me int) error {
			tokens := blas32.General{Rows: 2, Cols: dim, Stride: dim, Data: make([]float32, 2*dim)}
			h, in, err := whole(context.Background(), x, alltoall.Request{Counts: counts, Rows: tokens})
			require.NoError(t, err)
			_, err = h.Combine(context.Background(), 0, in)
			require.NoError(t, err)
			if me == 0 {
				return nil
			}
			tokens.Data[0], tokens.Data[2] = 1, float32(math.Inf(-1))
			_, err = h.DispatchBack(context.Background(), 0, tokens)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
				x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: dim, Wire: alltoall.Wire{Finite: true}})
				require.NoError(t, err)
				return try(x, int(tr.Rank()))
			})
			require.ErrorIs(t, errs[1], alltoall.ErrNotFinite)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(errs[1]))
			require.ErrorContains(t, errs[1], name)
		})
	}
	errs := ranktest.Errors(t, 2, func(tr transport.Transport) error { // in a row that nobody takes
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: dim, Wire: alltoall.Wire{Finite: true}})
		require.NoError(t, err)
		tokens := blas32.General{Rows: 3, Cols: dim, Stride: dim, Data: make([]float32, 3*dim)}
		tokens.Data[1*dim+1] = nan
		_, _, err = whole(context.Background(), x, alltoall.Request{Counts: counts, Rows: tokens, Token: []int32{0, 2}})
		return err
	})
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
}
