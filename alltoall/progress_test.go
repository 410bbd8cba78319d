package alltoall_test

import (
	"context"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// caller makes calls of a handle that are written as a letter and a chunk: D0 is Dispatch(0), C1
// Combine(1), B2 DispatchBack(2), R3 Recut(3), and X is Release.
type caller struct {
	h    *alltoall.Handle
	rows []blas32.General // of each chunk, that came last
	home blas32.General
}

func (c *caller) call(name string) (err error) {
	ctx, n := context.Background(), 0
	if len(name) > 1 {
		if n, err = strconv.Atoi(name[1:]); err != nil {
			return err
		}
	}
	var m blas32.General
	switch name[0] {
	case 'D':
		m, _, err = c.h.Dispatch(ctx, n)
	case 'B':
		m, err = c.h.DispatchBack(ctx, n, c.home)
	case 'C':
		if n < len(c.rows) {
			m = c.rows[n]
		}
		m, err = c.h.Combine(ctx, n, m)
	case 'R':
		err = c.h.Recut(n)
	case 'X':
		c.h.Release()
	}
	if err == nil && (name[0] == 'D' || name[0] == 'B') {
		c.rows = append(c.rows[:n], m)
	}
	if err == nil && name[0] == 'C' {
		c.home = m
	}
	return err
}

// orders has each row of the table in [alltoall.Handle]'s comment: calls that are allowed, in two
// chunks, and calls that are not after them, with what the error says.
var orders = []struct {
	name, allowed string
	not           map[string]string
}{
	{"Dispatch", "", map[string]string{
		"D1":  "dispatch: call out of order: chunk 1, want chunk 0 of 2",
		"D-1": "dispatch: call out of order: chunk -1, want chunk 0 of 2",
	}},
	{"Dispatch of the next", "D0", map[string]string{
		"D0": "dispatch: call out of order: chunk 0, want chunk 1 of 2",
	}},
	{"Dispatch of all", "D0 D1", map[string]string{
		"D2": "dispatch: call out of order: chunk 2, when 2 of 2 chunks have been dispatched and 0 combined",
	}},
	{"Dispatch in the second trip", "D0 D1 C0 C1 B0", map[string]string{
		"D1": "dispatch: call out of order: chunk 1, when 1 of 2 chunks have been dispatched and 0 combined",
	}},
	{"Combine", "D0 C0 D1 C1", map[string]string{
		"C0": "combine: call out of order: chunk 0, when 2 of 2 chunks have been dispatched and 2 combined",
	}},
	{"Combine before Dispatch", "D0 C0", map[string]string{
		"C1": "combine: call out of order: chunk 1, when 1 of 2 chunks have been dispatched and 1 combined",
	}},
	{"Combine of a later chunk", "D0 D1", map[string]string{
		"C1": "combine: call out of order: chunk 1, want chunk 0 of 2",
	}},
	{"Recut", "D0 D1 C0 C1 R3 B0 B1 B2 C0 C1 C2 R1 R2 B0 B1 C0 C1", map[string]string{
		"R0": "recut: 0 chunks, want 1 or more",
	}},
	{"Recut in a trip", "D0 D1 C0", map[string]string{
		"R1": "recut: call out of order: 2 of 2 chunks have been dispatched and 1 combined",
	}},
	{"Recut in the second trip", "D0 D1 C0 C1 R3 B0", map[string]string{
		"R2": "recut: call out of order: 1 of 3 chunks have been dispatched and 0 combined",
	}},
	{"Recut, then", "D0 D1 C0 C1 R3", map[string]string{
		"C0": "combine: call out of order: chunk 0, when 0 of 3 chunks have been dispatched and 0 combined",
		"B1": "dispatch back: call out of order: chunk 1, want chunk 0 of 3",
	}},
	{"DispatchBack", "D0 D1 C0 C1 B0 B1 C0 C1 B0 C0 B1 C1", map[string]string{
		"B1": "dispatch back: call out of order: chunk 1, want chunk 0 of 2",
	}},
	{"DispatchBack before Combine", "D0 D1 C0", map[string]string{
		"B0": "dispatch back: call out of order: chunk 0, when 2 of 2 chunks have been dispatched and 1 combined",
	}},
	{"DispatchBack of the next", "D0 D1 C0 C1 B0", map[string]string{
		"B0": "dispatch back: call out of order: chunk 0, want chunk 1 of 2",
	}},
	{"Release", "D0 X X", map[string]string{
		"D1": "dispatch: call out of order: after Release", "C0": "combine: call out of order: after Release",
		"B0": "dispatch back: call out of order: after Release", "R1": "recut: call out of order: after Release",
	}},
	{"Release at once", "X", nil},
}

// TestOrderOfCalls: after the calls that are allowed each other one fails, names this rank, its
// operation and its chunk, and changes nothing.
func TestOrderOfCalls(t *testing.T) {
	for _, o := range orders {
		t.Run(o.name, func(t *testing.T) {
			for name, says := range o.not {
				for _, cut := range []alltoall.Cut{alltoall.ByExperts(2), alltoall.ByRanks(2)} {
					checkOrder(t, cut, o.allowed, name, says)
				}
			}
			checkOrder(t, nil, "D0 C0", "D0", "chunk 0, when 1 of 1 chunks")
		})
	}
}

func checkOrder(t *testing.T, cut alltoall.Cut, allowed, name, says string) {
	t.Helper()
	for r, err := range ranktest.Errors(t, 2, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(4, 2), Dim: dim})
		require.NoError(t, err)
		rows := blas32.General{Rows: 4, Cols: dim, Stride: dim, Data: make([]float32, 4*dim)}
		counts := alltoall.Counts{Tokens: 4, Leaves: 1, Rows: []int{1, 1, 1, 1}}
		h, err := x.Begin(context.Background(), alltoall.Request{Counts: counts, Rows: rows, Cut: cut})
		require.NoError(t, err)
		c := &caller{h: h}
		for _, call := range strings.Fields(allowed) {
			if err := c.call(call); err != nil {
				return err
			}
		}
		for range 2 { // the first changed nothing
			err = c.call(name)
			require.ErrorContains(t, err, says)
			require.Equal(t, tr.Rank(), transport.CulpritOf(err))
			if says != "recut: 0 chunks, want 1 or more" {
				require.ErrorIs(t, err, alltoall.ErrOrder)
			}
		}
		h.Release()
		return nil
	}) {
		require.NoError(t, err, "rank %d: %s, then %s", r, allowed, name)
	}
}

// TestAfterAFailureOnlyReleaseIsAllowed, and the rows of a call must be as many as were announced.
func TestAfterAFailureOnlyReleaseIsAllowed(t *testing.T) {
	for _, err := range ranktest.Errors(t, 1, func(tr transport.Transport) error {
		x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(1, 1), Dim: dim, Wire: alltoall.Wire{Finite: true}})
		require.NoError(t, err)
		ctx := context.Background()
		rows := blas32.General{Rows: 2, Cols: dim, Stride: dim, Data: make([]float32, 2*dim)}
		one := blas32.General{Rows: 1, Cols: dim, Stride: dim, Data: make([]float32, dim)}
		counts := alltoall.Counts{Tokens: 2, Leaves: 1, Rows: []int{2}}
		h, in, err := whole(ctx, x, alltoall.Request{Counts: counts, Rows: rows})
		require.NoError(t, err)
		_, err = h.Combine(ctx, 0, one)
		require.ErrorContains(t, err, "rank 0: combine: 1 answers, want 2")
		_, err = h.Combine(ctx, 0, one, blas32.General{Rows: 1, Cols: 2, Stride: 2, Data: make([]float32, 2)})
		require.ErrorContains(t, err, "rank 0: combine: 1 rows × 2 (stride 2), want 1 × 3, packed")
		home, err := h.Combine(ctx, 0, in)
		require.NoError(t, err)
		_, err = h.DispatchBack(ctx, 0, one)
		require.ErrorContains(t, err, "rank 0: dispatch back: 1 rows × 3 (stride 3), want 2 × 3, packed")
		home.Data[0] = float32(math.NaN())
		_, err = h.DispatchBack(ctx, 0, home)
		require.ErrorIs(t, err, alltoall.ErrNotFinite)
		home.Data[0] = 0
		_, err = h.DispatchBack(ctx, 0, home)
		require.ErrorIs(t, err, alltoall.ErrOrder)
		require.ErrorContains(t, err, "dispatch back: call out of order: after a call that failed")
		require.ErrorIs(t, h.Recut(1), alltoall.ErrOrder)
		h.Release()
		return nil
	}) {
		require.NoError(t, err)
	}
}
