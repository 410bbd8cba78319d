package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/dispatch"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/transport"
)

var nan = float32(math.NaN())

// TestARefusedBatch fails on every rank with the number of the rank that is to blame, which says
// why; the next batch has its bits.
func TestARefusedBatch(t *testing.T) {
	for want, spoil := range map[string]func(x *blas32.General, indices *[]int32, weights *[]float32){
		"token 1, choice 0: expert 4, want 0 to 3, or -1 for none":       func(_ *blas32.General, i *[]int32, _ *[]float32) { (*i)[2] = 4 },
		"token 0, choice 1: expert -2, want 0 to 3":                      func(_ *blas32.General, i *[]int32, _ *[]float32) { (*i)[1] = -2 },
		"token 1, choice 1: expert 2 a second time":                      func(_ *blas32.General, i *[]int32, _ *[]float32) { (*i)[2], (*i)[3] = 2, 2 },
		"not a finite number: token 2, choice 0: weight NaN of expert 0": func(_ *blas32.General, i *[]int32, w *[]float32) { (*i)[4], (*i)[5], (*w)[4] = 0, 1, nan },
		"not a finite number: token 2, column 1 of x is +Inf": func(x *blas32.General, i *[]int32, _ *[]float32) {
			(*i)[4], (*i)[5] = 0, 1
			x.Data[7] = float32(math.Inf(1))
		},
		"x has 3 rows of 2 columns, want 3 columns": func(x *blas32.General, _ *[]int32, _ *[]float32) { x.Cols = 2 },
		"x has -1 rows":                        func(x *blas32.General, _ *[]int32, _ *[]float32) { x.Rows = -1 },
		"6 indices and 5 weights for 3 tokens": func(_ *blas32.General, _ *[]int32, w *[]float32) { *w = (*w)[1:] },
		"5 indices and 5 weights for 3 tokens, want as many of both, the same number for each token": func(_ *blas32.General, i *[]int32, w *[]float32) { *i, *w = (*i)[1:], (*w)[1:] },
		"6 indices and 6 weights for 0 tokens":                                                       func(x *blas32.General, _ *[]int32, _ *[]float32) { x.Rows = 0 },
		"message exceeds limit: 5 rows for rank 0, MaxRows is 3":                                     func(_ *blas32.General, i *[]int32, _ *[]float32) { copy(*i, []int32{0, 1, 0, 1, 0, -1}) },
	} {
		p := newProblem(rand.New(rand.NewPCG(11, 12)), 2, 6, 4, 2)
		p.cuts, p.cfg.Hosted = []int{3, 6}, []int{2, 2}
		copy(p.indices, []int32{0, 2, 1, 3, 2, -1, 0, 2, 1, 3, 3, -1})
		expected := p.run(t)
		if want[:3] == "mes" {
			p.cfg.MaxRows = 3
		}
		parts := make([]outcome, 2)
		for _, err := range onRanks(2, func(tr transport.Transport) error {
			d, err := dispatch.New(t.Context(), tr, p.cfg)
			if err != nil {
				return err
			}
			x, _, indices, weights := p.part(int(tr.Rank()))
			x.Data = append([]float32(nil), x.Data...)
			indices, weights = append([]int32(nil), indices...), append([]float32(nil), weights...)
			if tr.Rank() == 1 {
				spoil(&x, &indices, &weights)
			}
			_, err = d.Dispatch(t.Context(), x, indices, weights)
			require.ErrorIs(t, err, alltoall.ErrRefused)
			require.NotErrorIs(t, err, dispatch.ErrFailed)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
			if tr.Rank() == 1 {
				require.ErrorContains(t, err, "rank 1: Dispatch: pass 1: the batch was refused: ")
				require.ErrorContains(t, err, want)
			}
			if p.cfg.MaxRows == 0 {
				parts[tr.Rank()], err = p.step(t.Context(), d, int(tr.Rank()))
				return err
			}
			return nil
		}) {
			require.NoError(t, err)
		}
		if p.cfg.MaxRows == 0 {
			require.Equal(t, expected, joined(parts))
		}
	}
}

// TestTokensWithoutExpertsAreNotRead, nor their gradients, and get zeros.
func TestTokensWithoutExpertsAreNotRead(t *testing.T) {
	p := newProblem(rand.New(rand.NewPCG(13, 14)), 1, 3, 4, 2)
	p.indices[2], p.indices[3] = -1, -1
	want := p.run(t)
	for j := range 3 {
		p.x.Data[3+j], p.dy.Data[3+j] = nan, nan
	}
	p.weights[2] = nan
	got := p.run(t)
	require.Equal(t, want, got)
	require.Equal(t, make([]float32, 3), got.y[3:6])
	require.Equal(t, make([]float32, 3), got.dx[3:6])
	require.Zero(t, got.dweights[2])
}

// TestNumbersThatAreNotFinite in what a rank gives in a pass end it on every rank; the next has its
// bits.
func TestNumbersThatAreNotFinite(t *testing.T) {
	for _, finite := range []bool{false, true} {
		for call, want := range []string{
			"row 1, column 2 of its experts' answers is NaN",
			"column 0 of dy is NaN",
			"row 1, column 2 of its experts' gradients of rows is NaN",
		} {
			p := newProblem(rand.New(rand.NewPCG(15, 16)), 3, 18, 6, 2)
			p.cuts, p.cfg.Wire.Finite = []int{6, 12, 18}, finite
			expected, parts := p.run(t), make([]outcome, 3)
			for _, err := range onRanks(3, func(tr transport.Transport) error {
				d, err := dispatch.New(t.Context(), tr, p.cfg)
				if err != nil {
					return err
				}
				err = p.spoiled(t.Context(), d, int(tr.Rank()), call)
				require.ErrorIs(t, err, alltoall.ErrRefused)
				require.ErrorIs(t, err, alltoall.ErrNotFinite)
				require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
				if tr.Rank() == 1 {
					require.ErrorContains(t, err, want)
				}
				parts[tr.Rank()], err = p.step(t.Context(), d, int(tr.Rank()))
				return err
			}) {
				require.NoError(t, err)
			}
			require.Equal(t, expected, joined(parts))
		}
	}
}

// spoiled is step with a NaN in what rank 1 gives to a call, and its error.
func (p *problem) spoiled(ctx context.Context, d *dispatch.Dispatcher, rank, call int) error {
	x, dy, indices, weights := p.part(rank)
	pass, err := d.Dispatch(ctx, x, indices, weights)
	if err != nil {
		return err
	}
	defer pass.Release()
	spoil := func(of int, m blas32.General, at int) blas32.General {
		if rank == 1 && call == of {
			m.Data = append([]float32(nil), m.Data...)
			m.Data[at] = nan
		}
		return m
	}
	if _, err := pass.Combine(ctx, spoil(0, applied(d, pass, pass.Rows(), nil), 5)); err != nil {
		return errors.Join(err, ended(ctx, pass))
	}
	danswers, _, err := pass.CombineBackward(ctx, spoil(1, dy, 3))
	if err != nil {
		return errors.Join(err, ended(ctx, pass))
	}
	_, err = pass.DispatchBackward(ctx, spoil(2, applied(d, pass, pass.Rows(), danswers.Data), 5))
	return errors.Join(err, ended(ctx, pass))
}

// ended returns an error unless a pass has ended.
func ended(ctx context.Context, p *dispatch.Pass) error {
	_, err := p.Combine(ctx, blas32.General{})
	if err == nil || p.Rows().Rows != 0 || p.Plan() != nil {
		return fmt.Errorf("the pass has not ended: %w", err)
	}
	return nil
}

// TestWhatAFormatHasNoRoomFor is an error on every rank under Wire.Finite, with the rank that sent
// it, on each of the four legs.
func TestWhatAFormatHasNoRoomFor(t *testing.T) {
	for leg, want := range []string{
		"the rows that it sent", "the answers that it sent",
		"the gradients of answers that it sent", "the gradients of rows that it sent",
	} {
		p := newProblem(rand.New(rand.NewPCG(17, 18)), 2, 8, 2, 1)
		p.cuts, p.cfg.Wire = []int{4, 8}, alltoall.Wire{Finite: true}
		copy(p.indices, []int32{0, 0, 0, 1, 0, 0, 0, 0})
		for i := range p.weights {
			p.weights[i] = 1
		}
		at := p.x.Data[4*3 : 8*3] // of rank 1, for the expert of rank 0
		blamed := transport.Rank(1)
		switch leg {
		case 0:
			p.cfg.Wire.Dispatch, at[0] = alltoall.FP16, 1e6
		case 1:
			p.cfg.Wire.Combine, at[0], blamed = alltoall.FP16, 1e4, 0
		case 2:
			p.cfg.Wire.DispatchBack, p.dy.Data[4*3] = alltoall.FP16, 1e6
		case 3:
			p.cfg.Wire.CombineBack, at[0], p.dy.Data[4*3], blamed = alltoall.FP16, 300, 300, 0
		}
		for _, err := range onRanks(2, func(tr transport.Transport) error {
			_, err := p.onRank(t.Context(), tr)
			return err
		}) {
			require.ErrorIs(t, err, alltoall.ErrNotFinite)
			require.Equal(t, blamed, transport.CulpritOf(err), "%d: %v", leg, err)
			require.ErrorContains(t, err, want)
		}
	}
}

// TestOnePassOfSeveralEnds, which has a NaN on one rank; those that run at the same time go on.
func TestOnePassOfSeveralEnds(t *testing.T) {
	p := newProblem(rand.New(rand.NewPCG(31, 32)), 3, 30, 6, 2)
	p.cuts = []int{10, 20, 30}
	for _, err := range onRanks(3, func(tr transport.Transport) error {
		d, err := dispatch.New(t.Context(), tr, p.cfg)
		if err != nil {
			return err
		}
		rank, errs := int(tr.Rank()), make([]error, 6)
		passes := make([]*dispatch.Pass, len(errs))
		for i := range passes {
			if passes[i], err = d.NewPass(); err != nil {
				return err
			}
		}
		var group sync.WaitGroup
		for i, pass := range passes {
			group.Go(func() {
				of := p
				if i == 3 && rank == 1 {
					of.dy.Data = slices.Clone(of.dy.Data)
					of.dy.Data[15*3] = nan
				}
				_, errs[i] = of.through(t.Context(), d, pass, rank)
			})
		}
		group.Wait()
		require.ErrorIs(t, errs[3], alltoall.ErrNotFinite)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(errs[3]))
		errs[3] = nil
		return errors.Join(errs...)
	}) {
		require.NoError(t, err)
	}
}

// TestMisuse does nothing, names the call and what fits, and may be followed by the right one.
func TestMisuse(t *testing.T) {
	p := newProblem(rand.New(rand.NewPCG(19, 20)), 1, 4, 3, 2)
	ctx := t.Context()
	over, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range onRanks(1, func(tr transport.Transport) error {
		d, err := dispatch.New(ctx, tr, p.cfg)
		if err != nil {
			return err
		}
		refuse := func(err error, want string) {
			t.Helper()
			require.ErrorContains(t, err, want)
			require.NotErrorIs(t, err, dispatch.ErrFailed)
		}
		_, err = d.Dispatch(over, p.x, p.indices, p.weights)
		refuse(err, "Dispatch: nothing was done, as the context had ended")
		var none context.Context
		_, err = d.Dispatch(none, p.x, p.indices, p.weights)
		refuse(err, "the context is nil")
		_, err = (*dispatch.Dispatcher)(nil).Dispatch(ctx, p.x, p.indices, p.weights)
		refuse(err, "not made by New")
		pass, err := d.Dispatch(ctx, p.x, p.indices, p.weights)
		require.NoError(t, err)
		_, _, err = pass.CombineBackward(ctx, p.dy)
		refuse(err, "rank 0: CombineBackward: pass 1: called after Dispatch, want it after Combine")
		_, err = pass.Combine(ctx, mat.Rows(pass.Rows(), 1, pass.Rows().Rows))
		refuse(err, fmt.Sprintf("Combine: pass 1: answers has %d rows, want %d", pass.Rows().Rows-1, pass.Rows().Rows))
		_, err = pass.Combine(over, pass.Rows())
		refuse(err, "nothing was done")
		y, err := pass.Combine(ctx, applied(d, pass, pass.Rows(), nil))
		require.NoError(t, err)
		require.Equal(t, p.reference(), y.Data)
		_, err = pass.Combine(ctx, pass.Rows())
		refuse(err, "Combine: pass 1: called after Combine, want it after Dispatch")
		_, _, err = pass.CombineBackward(ctx, mat.Rows(p.dy, 0, 3))
		refuse(err, "dy has 3 rows, want 4")
		_, err = pass.DispatchBackward(ctx, pass.Rows())
		refuse(err, "called after Combine, want it after CombineBackward")
		_, _, err = pass.CombineBackward(ctx, p.dy)
		require.NoError(t, err)
		_, err = pass.DispatchBackward(ctx, blas32.General{Rows: 1, Cols: 4, Stride: 4, Data: make([]float32, 4)})
		refuse(err, "drows has 1 rows of 4 columns, want 3 columns")
		pass.Release()
		pass.Release()
		_, err = pass.DispatchBackward(ctx, pass.Rows())
		refuse(err, "DispatchBackward: pass 1: it has ended, by Release")
		return nil
	}) {
		require.NoError(t, err)
	}
}

// TestAnotherConfiguration is an error on every rank that names the field.
func TestAnotherConfiguration(t *testing.T) {
	for _, err := range onRanks(2, func(tr transport.Transport) error {
		_, err := dispatch.New(t.Context(), tr, dispatch.Config{Dim: 3, Experts: 4 + int(tr.Rank())})
		return err
	}) {
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.ErrorContains(t, err, "dispatch.New")
		require.ErrorContains(t, err, "Experts=5")
	}
}

// TestAConfigurationThatCannotBe is an error of New with every fault.
func TestAConfigurationThatCannotBe(t *testing.T) {
	wrong := dispatch.Config{
		Dim: -1, Experts: 1 << 30, Hosted: []int{1}, Algorithm: 99, Topology: alltoall.Topology{Node: []int{3}},
		Links: links.Links{Within: links.Link{Alpha: -1}}, Wire: alltoall.Everywhere(alltoall.Format(77)), MaxRows: -1,
	}
	for _, err := range onRanks(2, func(tr transport.Transport) error {
		wrong := wrong
		wrong.Compression = &lsh.Config{Rate: 2}
		_, err := dispatch.New(t.Context(), tr, wrong)
		return err
	}) {
		for _, field := range []string{"Dim is -1", "Experts is 1073741824", "Hosted", "Algorithm", "Topology", "Links", "Wire", "Compression: ", "MaxRows is -1"} {
			require.ErrorContains(t, err, "dispatch: Config."+field)
		}
	}
	_, err := dispatch.New(t.Context(), nil, dispatch.Config{})
	require.ErrorContains(t, err, "the transport is nil")
	err = dispatch.Config{Dim: 1, Experts: 1, Compression: &lsh.Config{Compensation: lsh.LearnedGain}}.Validate(1)
	require.ErrorContains(t, err, "has parameters, which only a layer trains")
}

// TestADeadRank is an error of the others, and their dispatchers have ended.
func TestADeadRank(t *testing.T) {
	p := newProblem(rand.New(rand.NewPCG(21, 22)), 2, 8, 4, 2)
	errs := onRanks(2, func(tr transport.Transport) error {
		d, err := dispatch.New(t.Context(), tr, p.cfg)
		if err != nil || tr.Rank() == 1 {
			return err // and its transport closes
		}
		x, _, indices, weights := p.part(0)
		_, err = d.Dispatch(t.Context(), x, indices, weights)
		require.ErrorIs(t, err, dispatch.ErrFailed)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		_, again := d.Dispatch(t.Context(), x, indices, weights)
		require.ErrorContains(t, again, "Dispatch: the dispatcher failed earlier, in Dispatch")
		return err
	})
	require.Error(t, errs[0])
	require.NoError(t, errs[1])
}

// TestTwoCallsOfOnePass: the second gets ErrInUse while the first waits for another rank, and does
// nothing; so does Release.
func TestTwoCallsOfOnePass(t *testing.T) {
	p := newProblem(rand.New(rand.NewPCG(23, 24)), 2, 8, 4, 2)
	tried := make(chan struct{})
	for _, err := range onRanks(2, func(tr transport.Transport) error {
		d, err := dispatch.New(t.Context(), tr, p.cfg)
		if err != nil {
			return err
		}
		pass, err := d.NewPass()
		if err != nil {
			return err
		}
		x, _, indices, weights := p.part(int(tr.Rank()))
		if tr.Rank() == 1 {
			<-tried
			return pass.Dispatch(t.Context(), x, indices, weights)
		}
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- pass.Dispatch(t.Context(), x, indices, weights) }()
		}
		require.ErrorIs(t, <-done, dispatch.ErrInUse)
		require.ErrorIs(t, pass.Release(), dispatch.ErrInUse)
		close(tried)
		return errors.Join(<-done, pass.Release(), pass.Release())
	}) {
		require.NoError(t, err)
	}
}
