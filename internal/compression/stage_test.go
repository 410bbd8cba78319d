package compression_test

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/internal/nodegather"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	dim     = 8
	experts = 2
)

// pairs puts rows 2i and 2i+1 of each expert into one cluster.
func pairs(_ blas32.General, ends []int) *lsh.Clusters {
	groups, begin := make([][]int32, len(ends)), 0
	for g, end := range ends {
		for i := range end - begin {
			groups[g] = append(groups[g], int32(i/2))
		}
		begin = end
	}
	return lsh.NewClusters(groups)
}

func config() compression.Config {
	return compression.Config{
		Dim: dim, Experts: experts, LSH: lsh.Config{Compensation: lsh.LearnedGain}, Assign: pairs,
		Placement: alltoall.Even(experts, 2),
	}
}

// rowsOf are four rows of each expert, of two token groups.
func rowsOf(seed uint64) (compression.Rows, blas32.General) {
	r := rand.New(rand.NewPCG(seed, 2))
	x := mat.Resize(blas32.General{}, 4*experts, dim)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	counts := alltoall.Counts{Tokens: 4 * experts, Leaves: 2, Rows: []int{1, 3, 2, 2}}
	return compression.Rows{Counts: counts, Order: func(to blas32.General) { copy(to.Data, x.Data) }}, x
}

// identity are answers that are the centroids themselves.
func identity(p *compression.Pass) blas32.General {
	m := mat.Resize(blas32.General{}, p.Centroids.Rows, dim)
	copy(m.Data, p.Centroids.Data)
	return m
}

// TestAPassBothWays: half of the rows travel, counted in the first token group. Answers of rows are
// their centroid's plus gain times the distance, and gradients are those of this sum.
func TestAPassBothWays(t *testing.T) {
	ctx := context.Background()
	s, err := compression.New(config())
	require.NoError(t, err)
	s.Gains().Value[0], s.Gains().Value[1] = 0.5, 0.25
	rows, x := rowsOf(1)
	p, err := s.Begin(ctx, 1, rows)
	require.NoError(t, err)
	defer p.Release()
	require.Equal(t, []int{2, 0, 2, 0}, p.Counts.Rows)
	require.Equal(t, []int{1, 3, 2, 2}, rows.Counts.Rows, "the counts of the caller stay")
	mean := func(m blas32.General, i, j int) float32 {
		return (mat.Row(m, i/2*2)[j] + mat.Row(m, i/2*2+1)[j]) / 2
	}
	answers, err := s.Restore(ctx, p, identity(p))
	require.NoError(t, err)
	gain := func(row int) float32 { return s.Gains().Value[row/4] }
	for i := range x.Rows {
		for j := range dim {
			c := mean(x, i, j)
			require.InDelta(t, c, mat.Row(p.Centroids, i/2)[j], 1e-6)
			require.InDelta(t, c+gain(i)*(mat.Row(x, i)[j]-c), mat.Row(answers, i)[j], 1e-5)
		}
	}
	_, dy := rowsOf(2)
	given := mat.Resize(blas32.General{}, dy.Rows, dim)
	copy(given.Data, dy.Data)
	back, err := s.RestoreBackward(ctx, p, given, compression.Leaves{First: 3, Count: 2})
	require.NoError(t, err)
	require.Equal(t, p.Centroids.Rows, back.Rows)
	// Experts whose answers are their rows pass gradients on.
	dcentroids := mat.Resize(blas32.General{}, back.Rows, dim)
	copy(dcentroids.Data, back.Data)
	dx, err := s.CompressBackward(ctx, p, given, dcentroids)
	require.NoError(t, err)
	wantGains := make([]float64, experts)
	for i := range x.Rows {
		for j := range dim {
			want := mean(dy, i, j) + gain(i)*(mat.Row(dy, i)[j]-mean(dy, i, j))
			require.InDelta(t, want, mat.Row(dx, i)[j], 1e-5, "row %d", i)
			wantGains[i/4] += float64(mat.Row(dy, i)[j] * (mat.Row(x, i)[j] - mean(x, i, j)))
		}
	}
	require.True(t, s.Gains().Grad.Holds(3, 5), "both token groups are entered")
	gains := s.Gains().Grad.Total()
	neartest.Equal(t, wantGains, gains, 1e-4)
}

// TestAPassThatIsNotCompressed changes nothing, and enters zeros for learned gains.
func TestAPassThatIsNotCompressed(t *testing.T) {
	ctx := context.Background()
	s, err := compression.New(config())
	require.NoError(t, err)
	_, x := rowsOf(1)
	for _, s := range []*compression.Stage{nil, s} {
		y, err := s.Restore(ctx, nil, x)
		require.NoError(t, err)
		dy, err := s.RestoreBackward(ctx, nil, x, compression.Leaves{Count: 1})
		require.NoError(t, err)
		dx, err := s.CompressBackward(ctx, nil, blas32.General{}, x)
		require.NoError(t, err)
		require.Equal(t, []blas32.General{x, x, x}, []blas32.General{y, dy, dx})
	}
	require.True(t, s.Gains().Grad.Holds(0, 1))
	require.Equal(t, []float32{0, 0}, s.Gains().Grad.Total())
	s.Gains().Frozen = true
	_, err = s.RestoreBackward(ctx, nil, x, compression.Leaves{First: 1, Count: 1})
	require.NoError(t, err)
	require.True(t, s.Gains().Grad.Holds(0, 1), "no leaf of frozen gains")
	var none *compression.Stage
	require.Nil(t, none.Gains())
	require.False(t, none.Enabled(0) || none.GathersNode())
	require.Zero(t, none.Stats(nil, alltoall.Counts{}, nil))
	none.EndPass(1, nil, compression.Rows{})
}

// TestEnabledSteps are those from From up to Until.
func TestEnabledSteps(t *testing.T) {
	cfg := config()
	cfg.From, cfg.Until = 2, 4
	s, err := compression.New(cfg)
	require.NoError(t, err)
	for step, want := range []bool{false, false, true, true, false} {
		require.Equal(t, want, s.Enabled(step), "step %d", step)
	}
	cfg.Until = 0
	s, err = compression.New(cfg)
	require.NoError(t, err)
	require.True(t, s.Enabled(1000))
	cfg.Auto = auto()
	s, err = compression.New(cfg)
	require.NoError(t, err)
	require.False(t, s.Enabled(1000), "its cost is not known yet")
}

// TestRatesByTheStep: each pass has the rate of its step.
func TestRatesByTheStep(t *testing.T) {
	cfg := config()
	cfg.Assign, cfg.Rates = nil, lsh.Rates{{Step: 0, Rate: 0.25}, {Step: 2, Rate: 0.75}, {Step: 9, Rate: 1}}
	s, err := compression.New(cfg)
	require.NoError(t, err)
	for step, want := range map[int]int{0: 1, 1: 2, 2: 3, 9: 4, 100: 4} {
		rows, _ := rowsOf(1)
		rows.Step = step
		p, err := s.Begin(context.Background(), 1, rows)
		require.NoError(t, err)
		require.Equal(t, experts*want, p.Centroids.Rows, "step %d", step)
		p.Release()
	}
	cfg.Rates = lsh.Rates{{Step: 3, Rate: 2}}
	_, err = compression.New(cfg)
	require.ErrorContains(t, err, "Rates[0].Rate is 2")
}

// auto allows everything to be lost, and has the ranks find the same.
func auto() *compression.Policy {
	return &compression.Policy{Budget: 1e9, Rates: []float64{0.1}, Given: true,
		Sum: func(_ context.Context, x []float64) error {
			for i := range x {
				x[i] *= 2
			}
			return nil
		}}
}

// TestAutoLearnsItsCostFromRowsThatHaveTravelled, and then compresses over slow links and not over
// fast ones.
func TestAutoLearnsItsCostFromRowsThatHaveTravelled(t *testing.T) {
	for _, slow := range []bool{true, false} {
		cfg := config()
		cfg.Auto, cfg.Assign = auto(), nil
		if slow {
			cfg.Links.Within.Beta = 1e9
		}
		s, err := compression.New(cfg)
		require.NoError(t, err)
		rows, _ := rowsOf(1)
		require.Contains(t, s.Stats(nil, rows.Counts, plan()).Choice, "each row, in the formats given")
		for step := range 4 {
			rows.Step = step
			s.Open()
			s.EndPass(1, nil, rows)
			s.Close()
			decided, err := s.Decide(t.Context(), step+1)
			require.NoError(t, err)
			require.True(t, decided == (step != 2) || slow, "step %d", step)
		}
		require.Equal(t, slow, s.Enabled(5))
		require.Equal(t, alltoall.Wire{Finite: true}, s.Wire(alltoall.Wire{Finite: true}), "as given")
		if slow {
			p, err := s.Begin(context.Background(), 1, rows)
			require.NoError(t, err)
			require.Equal(t, []int{1, 0, 1, 0}, p.Counts.Rows)
			require.Contains(t, s.Stats(p, rows.Counts, plan()).Choice, "clusters, 0.1 of the rows")
			p.Release()
		}
	}
}

// TestDecisionsFollowTheWindow of steps in which rows may be clustered.
func TestDecisionsFollowTheWindow(t *testing.T) {
	cfg := config()
	cfg.Auto, cfg.Assign, cfg.Links.Within.Beta = auto(), nil, 1e9
	cfg.From, cfg.Until = 11, 14
	s, err := compression.New(cfg)
	require.NoError(t, err)
	rows, _ := rowsOf(1)
	var decided []int
	for step := 1; step <= 16; step++ {
		s.Open()
		s.EndPass(uint64(step), nil, rows)
		s.Close()
		now, err := s.Decide(t.Context(), step)
		require.NoError(t, err)
		if now {
			decided = append(decided, step)
		}
		require.Equal(t, step == 12 || step == 13, s.Enabled(step), "step %d", step)
	}
	require.Equal(t, []int{1, 2, 4, 8, 11, 12, 14, 16}[:7], decided[:7])
}

// plan is of no rows.
func plan() *alltoall.Plan {
	return alltoall.NewPlan(0, alltoall.Even(experts, 2), []int{0, 0}, []alltoall.Counts{{Rows: []int{}}, {Rows: []int{}}})
}

// TestAutoChoosesFormats for a layer that gives none, and keeps that its numbers must be finite.
func TestAutoChoosesFormats(t *testing.T) {
	cfg := config()
	cfg.Auto = auto()
	cfg.Auto.Given, cfg.Links.Within.Beta = false, 1e9
	s, err := compression.New(cfg)
	require.NoError(t, err)
	w := s.Wire(alltoall.Wire{Finite: true})
	require.True(t, w.Finite)
	require.Equal(t, alltoall.MXFP4H, w.Within.Dispatch)
	require.NotNil(t, s.Computing())
	var none *compression.Stage
	require.Equal(t, alltoall.Everywhere(alltoall.FP8), none.Wire(alltoall.Everywhere(alltoall.FP8)))
	require.Nil(t, none.Computing())
	decided, err := none.Decide(t.Context(), 1)
	require.False(t, decided)
	require.NoError(t, err)
	cfg.Auto.Sum = func(context.Context, []float64) error { return context.Canceled }
	_, err = compression.New(cfg)
	require.ErrorIs(t, err, context.Canceled)
}

// TestFaultyClustersTravelAsRows, and the pass says why.
func TestFaultyClustersTravelAsRows(t *testing.T) {
	for _, c := range []struct {
		assign func(blas32.General, []int) *lsh.Clusters
		why    string
	}{
		{func(blas32.General, []int) *lsh.Clusters { return nil }, "no clusters"},
		{func(blas32.General, []int) *lsh.Clusters { return lsh.NewClusters([][]int32{{0}, {0}}) }, "rows that end at"},
	} {
		cfg := config()
		cfg.Assign = c.assign
		s, err := compression.New(cfg)
		require.NoError(t, err)
		rows, x := rowsOf(1)
		p, err := s.Begin(context.Background(), 1, rows)
		require.NoError(t, err)
		require.ErrorContains(t, p.Fault, c.why)
		require.Equal(t, x.Data, p.Centroids.Data)
		require.Equal(t, rows.Counts.Rows, p.Counts.Rows)
		p.Release()
	}
}

// TestAConfigurationThatCannotBe is refused.
func TestAConfigurationThatCannotBe(t *testing.T) {
	cfg := config()
	cfg.LSH.Rate = 2
	_, err := compression.New(cfg)
	require.ErrorContains(t, err, "Rate is 2")
}

// TestRowsOfANode are compressed together by a rank that is alone on its node, with the bits of its
// own rows, and the time of messages is counted.
func TestRowsOfANode(t *testing.T) {
	ctx := context.Background()
	ends := inproc.New(1)
	defer func() { require.NoError(t, ends[0].Close()) }()
	connect := func([]transport.Rank) (transport.Transport, error) { return ends[0], nil }
	gather, err := nodegather.New(connect, nodegather.Config{
		Layout: layout.New(layout.Config{Size: 1, Experts: experts}), Node: []int{0}, Dim: dim,
	})
	require.NoError(t, err)
	rows, _ := rowsOf(1)
	_, dy := rowsOf(2)
	run := func(cfg compression.Config) (y, dx []float32) {
		s, err := compression.New(cfg)
		require.NoError(t, err)
		require.Equal(t, cfg.Gather != nil, s.GathersNode())
		p, err := s.Begin(ctx, 1, rows)
		require.NoError(t, err)
		defer p.Release()
		require.Equal(t, []int{2, 0, 2, 0}, p.Counts.Rows)
		answers, err := s.Restore(ctx, p, identity(p))
		require.NoError(t, err)
		y = append(y, answers.Data...)
		given := mat.Resize(blas32.General{}, dy.Rows, dim)
		copy(given.Data, dy.Data)
		back, err := s.RestoreBackward(ctx, p, given, compression.Leaves{Count: 2})
		require.NoError(t, err)
		copied := mat.Resize(blas32.General{}, back.Rows, dim)
		copy(copied.Data, back.Data)
		grad, err := s.CompressBackward(ctx, p, given, copied)
		require.NoError(t, err)
		return y, append(dx, grad.Data...)
	}
	cfg := config()
	wantY, wantDX := run(cfg)
	var spent atomic.Int64
	cfg.Gather, cfg.Exchanging = gather, &spent
	y, dx := run(cfg)
	require.Equal(t, wantY, y)
	require.Equal(t, wantDX, dx)
	require.Positive(t, spent.Load())
}
