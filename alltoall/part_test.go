package alltoall

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// TestParts: those of rank 1 of two, which host two experts each; rank 0 sends one row of each of
// two leaves to expert 2, and rank 1 one to expert 0 and three to expert 3.
func TestParts(t *testing.T) {
	counts := [2]Counts{
		{Tokens: 2, Leaves: 2, Rows: []int{0, 0, 0, 0, 1, 1, 0, 0}},
		{Tokens: 3, Leaves: 1, Rows: []int{1, 0, 0, 3}},
	}
	for _, c := range []struct {
		cut               Cut
		leaving, arriving [][]Part
	}{
		{
			ByExperts(1),
			[][]Part{{{First: 0, Rows: 1, Expert: 0, Ends: []int{1, 1}}, {First: 1, Rows: 3, Expert: 2, Ends: []int{0, 3}}}},
			[][]Part{{{First: 0, Rows: 5, Expert: 2, Ends: []int{2, 5}}}},
		},
		{
			ByExperts(2),
			[][]Part{{{First: 0, Rows: 1, Expert: 0, Ends: []int{1}}}, {{First: 1, Rows: 3, Expert: 3, Ends: []int{3}}}},
			[][]Part{{{First: 0, Rows: 2, Expert: 2, Ends: []int{2}}}, {{First: 2, Rows: 3, Expert: 3, Ends: []int{3}}}},
		},
		{
			ByRanks(2),
			[][]Part{{{First: 1, Rows: 3, Expert: 2, Ends: []int{0, 3}}}, {{First: 0, Rows: 1, Expert: 0, Ends: []int{1, 1}}}},
			[][]Part{{{First: 0, Rows: 3, Expert: 2, Ends: []int{0, 3}}}, {{First: 3, Rows: 2, Expert: 2, Ends: []int{2, 2}}}},
		},
	} {
		for _, err := range ranktest.Errors(t, 2, func(tr transport.Transport) error {
			x, err := New(tr, Config{Placement: Even(4, 2), Dim: 1})
			require.NoError(t, err)
			mine := counts[tr.Rank()]
			m := blas32.General{Rows: 2 * (1 + int(tr.Rank())), Cols: 1, Stride: 1, Data: make([]float32, 4)}
			h, err := x.Begin(context.Background(), Request{Counts: mine, Rows: m, Cut: c.cut})
			if err != nil {
				return err
			}
			for chunk := range c.cut.Chunks() {
				if tr.Rank() == 1 {
					require.Equal(t, c.leaving[chunk], h.Leaving(chunk), "%v, chunk %d", c.cut, chunk)
					require.Equal(t, c.arriving[chunk], h.Arriving(chunk), "%v, chunk %d", c.cut, chunk)
				}
				if _, _, err := h.Dispatch(context.Background(), chunk); err != nil {
					return err
				}
			}
			return nil
		}) {
			require.NoError(t, err)
		}
	}
}

// TestLateRows may be written to until their chunk is dispatched, by any algorithm and codec.
func TestLateRows(t *testing.T) {
	for _, a := range Algorithms() {
		for _, w := range []Wire{{}, Everywhere(BF16)} {
			for _, err := range ranktest.Errors(t, 2, func(tr transport.Transport) error {
				x, err := New(tr, Config{Placement: Even(4, 2), Dim: 1, Algorithm: a, Wire: w})
				require.NoError(t, err)
				r := Request{Counts: Counts{Tokens: 1, Leaves: 1, Rows: []int{1, 1, 1, 1}}, Late: true, Cut: ByExperts(2), Token: []int32{0, 1, 2, 3}}
				r.Rows = blas32.General{Rows: 4, Cols: 1, Stride: 1, Data: []float32{-1, -1, -1, -1}}
				_, err = x.Begin(context.Background(), r)
				require.ErrorContains(t, err, "Late with a Token")
				r.Token = nil
				h, err := x.Begin(context.Background(), r)
				if err != nil {
					return err
				}
				for chunk := range 2 {
					r.Rows.Data[chunk], r.Rows.Data[2+chunk] = float32(chunk), float32(2+chunk)
					in, _, err := h.Dispatch(context.Background(), chunk)
					if err != nil {
						return err
					}
					v := float32(2*int(tr.Rank()) + chunk)
					require.Equal(t, []float32{v, v}, in.Data, "%v, %v", a, w)
				}
				return nil
			}) {
				require.NoError(t, err)
			}
		}
	}
}
