package compression_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// bounded has a bound of the error of answers, in steps from 5 on.
func bounded(most float64) compression.Config {
	cfg := config()
	cfg.LSH = lsh.Config{Compensation: lsh.None}
	cfg.MaxError, cfg.From = most, 5
	return cfg
}

// doubled are answers twice as large as what travelled.
func doubled(p *compression.Pass) blas32.General {
	m := identity(p)
	for i := range m.Data {
		m.Data[i] *= 2
	}
	return m
}

// pass runs one of a step, with answers that are doubled, and returns what it makes of rows.
func pass(t *testing.T, s *compression.Stage, step int) (y, dx []float32, counts []int) {
	ctx := context.Background()
	rows, _ := rowsOf(1)
	rows.Step = step
	s.Open()
	defer s.Close()
	p, err := s.Begin(ctx, 1, rows)
	require.NoError(t, err)
	defer p.Release()
	answers, err := s.Restore(ctx, p, doubled(p))
	require.NoError(t, err)
	_, dy := rowsOf(2)
	back, err := s.RestoreBackward(ctx, p, dy, compression.Leaves{})
	require.NoError(t, err)
	require.Equal(t, p.Centroids.Rows, back.Rows)
	require.Equal(t, p.Centroids.Rows-4, zeroRows(back), "experts do not learn from sampled rows")
	sent := mat.Resize(blas32.General{}, back.Rows, dim)
	copy(sent.Data, back.Data)
	grad, err := s.CompressBackward(ctx, p, dy, sent)
	require.NoError(t, err)
	s.EndPass(1, p, rows)
	return answers.Data, grad.Data, p.Counts.Rows
}

func zeroRows(m blas32.General) (n int) {
	for i := range m.Rows {
		if !slices.ContainsFunc(mat.Row(m, i), func(v float32) bool { return v != 0 }) {
			n++
		}
	}
	return n
}

// endStep ends a step of stages, one a rank.
func endStep(t *testing.T, step int, stages ...*compression.Stage) {
	ends := inproc.New(len(stages))
	var wg sync.WaitGroup
	errs := make([]error, len(stages))
	for i, s := range stages {
		wg.Go(func() { errs[i] = s.EndStep(context.Background(), collective.New(ends[i]), step) })
	}
	wg.Wait()
	for i, end := range ends {
		require.NoError(t, errs[i])
		require.NoError(t, end.Close())
	}
}

func errorOf(s *compression.Stage) float64 {
	counts := alltoall.Counts{Tokens: 1, Leaves: 1, Rows: make([]int, experts)}
	plan := &alltoall.Plan{Experts: experts, Sent: []int{0, 0}}
	return s.Stats(nil, counts, plan).Error
}

// TestSampledRowsTravelBesideTheCentroids, and change nothing of what the other rows get.
func TestSampledRowsTravelBesideTheCentroids(t *testing.T) {
	s, err := compression.New(bounded(10))
	require.NoError(t, err)
	plain, err := compression.New(bounded(0))
	require.NoError(t, err)
	for _, step := range []int{5, 6, 36, 37} {
		wantY, wantDX, counts := pass(t, plain, step)
		require.Equal(t, []int{2, 0, 2, 0}, counts)
		y, dx, counts := pass(t, s, step)
		if step == 5 || step == 37 {
			require.Equal(t, []int{4, 0, 4, 0}, counts, "no more than there are rows")
		} else {
			require.Equal(t, []int{2, 0, 2, 0}, counts, "step %d", step)
		}
		require.Equal(t, wantY, y, "step %d", step)
		require.Equal(t, wantDX, dx, "step %d", step)
	}
}

// TestErrorOfAnswers is that of the rows that were sampled, over all ranks.
func TestErrorOfAnswers(t *testing.T) {
	a, err := compression.New(bounded(10))
	require.NoError(t, err)
	b, err := compression.New(bounded(10))
	require.NoError(t, err)
	y, _, _ := pass(t, a, 5)
	_, x := rowsOf(1)
	off, all := 0.0, 0.0
	for i, v := range x.Data {
		if i/dim%4 >= 2 { // two of each expert's four rows
			continue
		}
		off += math.Pow(float64(y[i])-2*float64(v), 2)
		all += math.Pow(2*float64(v), 2)
	}
	want := math.Sqrt(off / all)
	require.Greater(t, want, 0.3)
	require.Zero(t, errorOf(a), "before the ranks have compared")
	endStep(t, 5, a, b)
	require.InDelta(t, want, errorOf(a), 1e-9)
	require.Equal(t, errorOf(a), errorOf(b), "a rank without rows knows it too")
	endStep(t, 37, a, b)
	require.InDelta(t, want, errorOf(a), 1e-9, "nothing new was seen")
}

// TestTooLargeAnErrorEndsCompression until a sample shows one below 0.8 of the bound.
func TestTooLargeAnErrorEndsCompression(t *testing.T) {
	probe, err := compression.New(bounded(10))
	require.NoError(t, err)
	pass(t, probe, 5)
	endStep(t, 5, probe)
	is := errorOf(probe)
	for _, c := range []struct {
		most    float64
		on, now bool // after one sample; and after another, where it was off before
	}{{is * 0.99, false, false}, {is * 1.01, true, false}, {is * 1.24, true, false}, {is * 1.26, true, true}} {
		s, err := compression.New(bounded(c.most))
		require.NoError(t, err)
		require.True(t, s.Enabled(5))
		pass(t, s, 5)
		endStep(t, 5, s)
		require.Equal(t, c.on, s.Enabled(6))
		require.True(t, s.Enabled(37), "a sample is taken whatever the last one showed")
		require.False(t, s.Enabled(4))
		load(t, s, is, 1)
		require.False(t, s.Enabled(36))
		pass(t, s, 37)
		endStep(t, 37, s)
		require.Equal(t, c.now, s.Enabled(38), "%v of the bound", is/c.most)
	}
}

// load sets what a checkpoint has of the error.
func load(t *testing.T, s *compression.Stage, to ...float64) {
	list := parameters.NewLister(0, 1, 0, nil)
	s.List(list)
	state, err := list.State()
	require.NoError(t, err)
	require.Len(t, state.Entries, 1)
	copy(state.Entries[0].Data.([]float64), to)
	require.NoError(t, state.Loaded())
	require.Equal(t, to[0], errorOf(s))
}

// TestStateOfTheError that cannot be is refused, and an old one is not saved.
func TestStateOfTheError(t *testing.T) {
	s, err := compression.New(bounded(0.1))
	require.NoError(t, err)
	list := parameters.NewLister(0, 1, 0, nil)
	s.List(list)
	state, err := list.State()
	require.NoError(t, err)
	require.Equal(t, "compression.error.rank-00000-of-00001", state.Entries[0].Name)
	require.NoError(t, state.Current())
	pass(t, s, 5)
	endStep(t, 5, s)
	require.ErrorContains(t, state.Current(), "compression.error was [0 0]")
	for _, wrong := range [][]float64{{-1, 0}, {math.NaN(), 1}, {0.1, 2}} {
		copy(state.Entries[0].Data.([]float64), wrong)
		require.ErrorContains(t, state.Loaded(), "compression.error: an error of")
	}
	var none *compression.Stage
	none.List(list)
	require.NoError(t, none.EndStep(context.Background(), nil, 1))
}

// TestAnswersThatAreNotFinite end compression.
func TestAnswersThatAreNotFinite(t *testing.T) {
	s, err := compression.New(bounded(math.Inf(1)))
	require.NoError(t, err)
	bad, err := compression.New(bounded(10))
	require.NoError(t, err)
	for _, s := range []*compression.Stage{s, bad} {
		rows, _ := rowsOf(1)
		rows.Step = 5
		p, err := s.Begin(context.Background(), 1, rows)
		require.NoError(t, err)
		answers := identity(p)
		answers.Data[len(answers.Data)-1] = float32(math.NaN())
		_, err = s.Restore(context.Background(), p, answers)
		require.NoError(t, err)
		s.EndPass(1, p, rows)
		p.Release()
	}
	endStep(t, 5, s, bad)
	require.True(t, math.IsInf(errorOf(s), 1))
	require.True(t, s.Enabled(6), "any error is allowed")
	require.False(t, bad.Enabled(6))
}

// TestManyRows are sampled at even distances.
func TestManyRows(t *testing.T) {
	const rows = 1000
	cfg := bounded(1)
	cfg.Assign, cfg.LSH.Rate = nil, 0.2
	s, err := compression.New(cfg)
	require.NoError(t, err)
	all := mat.Resize(blas32.General{}, rows, dim)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range all.Data {
		all.Data[i] = float32(r.NormFloat64())
	}
	counts := alltoall.Counts{Tokens: rows, Leaves: 1, Rows: []int{900, 100}}
	p, err := s.Begin(context.Background(), 1, compression.Rows{
		Counts: counts, Step: 5, Order: func(to blas32.General) { mat.Copy(to, all) },
	})
	require.NoError(t, err)
	defer p.Release()
	require.Equal(t, []int{180 + 113, 20 + 12}, p.Counts.Rows, "every eighth row")
	for i := range 113 {
		require.Equal(t, mat.Row(all, 8*i), mat.Row(p.Centroids, 180+i))
	}
	for i := range 12 {
		require.Equal(t, mat.Row(all, 904+8*i), mat.Row(p.Centroids, 293+20+i))
	}
}
