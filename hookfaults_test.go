package switchyard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/hook"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// TestHookThatFails, on one rank of three, fails the pass on all of them, with the rank and the
// hook; the next pass has the bits that it would have had.
func TestHookThatFails(t *testing.T) {
	broken := errors.New("it has broken")
	eachHook(t, alltoall.Wire{}, func(t *testing.T, point string, fail func() bool) hook.Func {
		failed := uint64(0) // pass
		return func(_ context.Context, at hook.Call, _ blas32.General) error {
			if !fail() {
				return nil
			}
			if failed == at.Pass {
				t.Errorf("%s is called after it has failed", point)
			}
			failed = at.Pass
			return broken
		}
	}, func(t *testing.T, point string, rank int, err error) {
		require.ErrorContains(t, err, "Config.Hooks."+point)
		if rank == 1 {
			require.ErrorIs(t, err, broken)
			return
		}
		require.ErrorContains(t, err, "failed; its own error says why")
	})
}

// TestHookThatMakesNaN is blamed under Wire.Finite, and not the ranks that its numbers went to.
func TestHookThatMakesNaN(t *testing.T) {
	eachHook(t, alltoall.Wire{Finite: true, Combine: alltoall.BF16}, func(t *testing.T, point string, fail func() bool) hook.Func {
		return func(_ context.Context, _ hook.Call, rows blas32.General) error {
			if fail() {
				mat.Row(rows, rows.Rows-1)[1] = float32(math.NaN())
			}
			return nil
		}
	}, func(t *testing.T, point string, rank int, err error) {
		require.ErrorIs(t, err, alltoall.ErrNotFinite)
		require.ErrorContains(t, err, " of the rows of its Config.Hooks."+point)
	})
}

// eachHook runs a layer on three ranks with a hook at each point that on rank 1 fails in the second
// pass, and checks the errors and the passes around it.
func eachHook(t *testing.T, wire alltoall.Wire, of func(t *testing.T, point string, fail func() bool) hook.Func, check func(t *testing.T, point string, rank int, err error)) {
	x := randomMatrix(rand.New(rand.NewPCG(7, 8)), 4, 3)
	everyHook(func(point string) hook.Func {
		t.Run(point, func(t *testing.T) {
			for _, degree := range []int{1, 3} {
				for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
					failing := false
					hooks := everyHook(func(p string) hook.Func {
						if p != point {
							return nil
						}
						return of(t, point, func() bool { return failing })
					})
					l, err := NewLayer(w, Config{
						Dim: 3, Experts: 6, Group: 4, Hooks: hooks, Overlap: Overlap{Degree: degree},
						Wire:   wire,
						Router: router.TopK{K: 6}, Expert: expert.FFN{Hidden: 2},
					})
					if err != nil {
						return err
					}
					want, err := outputsOf(t.Context(), l, x)
					if err != nil {
						return err
					}
					failing = w.Rank() == 1
					_, err = outputsOf(t.Context(), l, x)
					failing = false
					require.ErrorIs(t, err, alltoall.ErrRefused, "rank %d", w.Rank())
					require.NotErrorIs(t, err, ErrFailed, "rank %d", w.Rank())
					require.Equal(t, transport.Rank(1), transport.CulpritOf(err), "rank %d: %v", w.Rank(), err)
					require.ErrorContains(t, err, point[:strings.Index(point, ".")+1]+" failed: ")
					check(t, point, int(w.Rank()), err)
					got, err := outputsOf(t.Context(), l, x)
					require.Equal(t, want, got, "after the error")
					return err
				}) {
					require.NoError(t, err, "degree %d, rank %d", degree, rank)
				}
			}
		})
		return nil
	})
}

// outputsOf takes a batch through the layer, both ways.
func outputsOf(ctx context.Context, l *Layer, x blas32.General) (all []float32, err error) {
	y, err := l.Forward(ctx, x)
	if err != nil {
		return nil, fmt.Errorf("Forward. failed: %w", err)
	}
	all = slices.Clone(y.Data)
	dx, err := l.Backward(ctx, x)
	if err != nil {
		return nil, fmt.Errorf("Backward. failed: %w", err)
	}
	return append(all, dx.Data...), l.DiscardGradients()
}
