package switchyard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
)

// TestOverlapSameBits trains with exchanges in parts, more of them than experts too, and compares with one rank in one part.
func TestOverlapSameBits(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for name, cfg := range layersUnderTest() {
		want := trainTwiceWith(t, inprocWorlds(1), cfg, x, dy, router.Batch{}, []int{bitsTokens})
		for _, ranks := range fewer([]int{1, 2, 3, 4}, 3) {
			for _, degree := range fewer([]int{1, 2, 3, 4, 7}, 2, 7) {
				for _, a := range []alltoall.Algorithm{alltoall.Direct, alltoall.Rails} {
					t.Run(fmt.Sprintf("%s/ranks=%d/degree=%d/%s", name, ranks, degree, a), func(t *testing.T) {
						cfg := cfg
						var passes atomic.Int64
						cfg.Overlap = Overlap{Degree: degree, Observe: func(_ schedule.Pass, line schedule.Timeline) {
							passes.Add(1)
							parts := degree
							if cfg.Experts/ranks < degree { // cut by ranks
								parts = min(degree, ranks)
							}
							require.Len(t, line.Spans, 3*parts+1)
						}}
						cfg.Algorithm, cfg.Topology = a, alltoall.Nodes(ranks, 2)
						requireSameBits(t, want, trainTwiceWith(t, inprocWorlds(ranks), cfg, x, dy, router.Batch{}, cutsOf(splits[ranks][0])))
						require.Positive(t, passes.Load())
					})
				}
			}
		}
	}
}

// TestOverlapWithCompression has the bits of the same compression without overlap, on as many ranks; and a shared expert.
func TestOverlapWithCompression(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["dropless"]
	cfg.Compression = Compression{When: Always, LSH: lsh.Config{Rate: 0.4, Compensation: lsh.LearnedGain}}
	cfg.Shared = expert.SwiGLU{Hidden: 5}
	cuts := cutsOf(splits[3][0])
	want := trainTwiceWith(t, inprocWorlds(3), cfg, x, dy, router.Batch{}, cuts)
	cfg.Overlap.Degree = 2
	requireSameBits(t, want, trainTwiceWith(t, inprocWorlds(3), cfg, x, dy, router.Batch{}, cuts))
}

// TestOverlapEndsWithItsContext: a pass whose context has ended returns its cause, with nothing left running.
func TestOverlapEndsWithItsContext(t *testing.T) {
	cfg := layersUnderTest()["dropless"]
	cfg.Overlap.Degree = 2
	worlds := inprocWorlds(2)
	layers := make([]*Layer, 2)
	done := make(chan error, 2)
	for r, w := range worlds {
		go func() {
			var err error
			layers[r], err = NewLayer(w, cfg)
			done <- err
		}()
	}
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	ctx, cancel := context.WithCancelCause(context.Background())
	gone := errors.New("gone")
	go func() {
		_, err := layers[0].Forward(ctx, randomMatrix(rand.New(rand.NewPCG(1, 1)), 8, bitsDim)) // the other rank never comes
		done <- err
	}()
	cancel(gone)
	require.ErrorIs(t, <-done, gone)
	for _, w := range worlds {
		require.NoError(t, w.Close())
	}
}

// TestOverlapAutoSameBits goes through the profile and what is chosen after it.
func TestOverlapAutoSameBits(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["dropless"]
	var want [][]float32
	for _, auto := range []bool{false, true} {
		cfg.Overlap = Overlap{Auto: auto}
		worlds := inprocWorlds(2)
		got := make([][]float32, len(worlds))
		for rank, err := range onRanks(worlds, func(w *World) error {
			l, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			for range warmSteps + 2*profileSteps + 2 {
				if _, err := l.Forward(t.Context(), x); err != nil {
					return err
				}
				dx, err := l.Backward(t.Context(), dy)
				if err != nil {
					return err
				}
				if err := l.Step(t.Context(), &expert.SGD{LR: 0.001}); err != nil {
					return err
				}
				got[w.Rank()] = append(got[w.Rank()], dx.Data...)
			}
			if auto {
				profile := l.OverlapProfile()
				require.NotNil(t, profile)
				next := cfg
				next.Overlap.Profile = profile
				again, err := NewLayer(w, next)
				if err != nil {
					return err
				}
				require.Equal(t, l.tuner.degree, again.tuner.degree)
				require.Equal(t, l.Stats().Overlap.Predicted, again.tuner.predicted)
				require.Equal(t, profile, again.OverlapProfile())
				next.Overlap.Profile = &OverlapProfile{Ranks: 3, Most: 4}
				if _, err = NewLayer(w, next); err == nil || !strings.Contains(err.Error(), "Profile is of 3 ranks") {
					return fmt.Errorf("another job's profile: %w", err)
				}
			}
			if l.tuner != nil && (l.tuner.phase() >= 0 || !l.tuner.decided || l.Stats().Overlap.Predicted == 0) {
				return errors.New("the profile has not ended")
			}
			return nil
		}) {
			require.NoError(t, err, "rank %d", rank)
		}
		if !auto {
			want = got
		}
		require.Equal(t, want, got)
	}
}

// TestTunerTakesWhatTheModelSays: parts where compute and exchange are alike, one where there is nothing to overlap or each part is dear.
func TestTunerTakesWhatTheModelSays(t *testing.T) {
	balanced := OpSeconds{Dispatch: 1, Experts: 2, Combine: 1, Whole: 4}
	parts := balanced
	parts.Whole = 2.5 // as the graph says of four parts
	p := profiled{one: balanced, many: parts, most: 4}
	require.Equal(t, 4, p.bestDegree())
	require.InDelta(t, 3, p.time(2, 0), 1e-9, "half a dispatch, two halves of compute, half a combine")
	require.InDelta(t, parts.Whole, p.time(4, 0), 1e-9)
	require.Equal(t, 1, profiled{one: OpSeconds{Experts: 2, Whole: 2}, many: OpSeconds{Experts: 2, Whole: 2}, most: 4}.bestDegree())
	dear := OpSeconds{Dispatch: 4, Experts: 2, Combine: 4, Whole: 8.5} // a part takes as long as all
	require.Equal(t, 1, profiled{one: balanced, many: dear, most: 4}.bestDegree())
}

// TestTunerTakesWhatWasNotTimedIfItIsClearlyFaster: with parts that are dear, two of them beat one and eight; where they are nearly as good as eight,
// which were timed, eight are taken.
func TestTunerTakesWhatWasNotTimedIfItIsClearlyFaster(t *testing.T) {
	of := func(alpha float64) profiled {
		p := profiled{most: 8}
		p.one = OpSeconds{Dispatch: 4 + alpha, Experts: 8, Combine: 4 + alpha}
		p.many = OpSeconds{Dispatch: 4 + 8*alpha, Experts: 8, Combine: 4 + 8*alpha}
		p.one.Whole, p.many.Whole = p.makespan(1, 0), p.makespan(8, 0)
		return p
	}
	dear := of(1)
	require.Less(t, dear.time(2, 0)*clearly, min(dear.time(1, 0), dear.time(8, 0)))
	require.Equal(t, 2, dear.bestDegree())
	even := of(0.16)
	require.Less(t, even.time(4, 0), even.time(8, 0))
	require.Greater(t, even.time(4, 0)*clearly, even.time(8, 0))
	require.Equal(t, 8, even.bestDegree())
}

// TestPredictionHoldsForWhatWasSeen: what passes take beyond their graphs is in it, whole in one part and in most, and by the share that
// overlaps between.
func TestPredictionHoldsForWhatWasSeen(t *testing.T) {
	one := OpSeconds{Dispatch: 1, Experts: 2, Combine: 1, Background: 0.5, Chunks: 1, Whole: 5} // half a second of routing
	many := OpSeconds{Dispatch: 1, Experts: 2, Combine: 1, Background: 0.5, Chunks: 1, Whole: 3.6}
	p := profiled{one: one, many: many, most: 4}
	require.InDelta(t, one.Whole, p.time(1, 1), 1e-9)
	require.InDelta(t, many.Whole, p.time(4, 1), 1e-9)
	always, most := one.Whole-p.makespan(1, 1), many.Whole-p.makespan(4, 1)
	require.InDelta(t, p.makespan(2, 0)+always+2./3*(most-always), p.time(2, 0), 1e-9)
	many.Whole = 6 // overlap costs more than it gains
	require.Equal(t, 1, profiled{one: one, many: many, most: 4}.bestDegree())
}

// TestPredictionIsOfTheSlowestRank: of what it took in the median step, forward and backward together.
func TestPredictionIsOfTheSlowestRank(t *testing.T) {
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := layersUnderTest()["dropless"]
		cfg.Overlap.Auto = true
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		u := l.tuner
		u.steps = warmSteps + 2*profileSteps
		for phase, whole := range []float64{5, 3} {
			for i := range profileSteps { // ranks take turns at being slow: 1 second in one pass, 2 in the other
				late := float64((i + int(w.Rank())) % 2)
				u.seen[schedule.Forward][phase][i].Whole = whole + late + float64(i)
				u.seen[schedule.Backward][phase][i].Whole = whole + 2*late
			}
		}
		if err := u.stepped(t.Context(), l); err != nil {
			return err
		}
		require.Equal(t, [2]int{4, 4}, u.degree)
		require.Equal(t, [2]float64{5 + 5 + 3 + 2, 3 + 3 + 3 + 2}, u.step, "the third of five steps")
		require.InDelta(t, 11, u.predicted.Seconds(), 1e-6)
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestTunerLooksAgain: passes that take longer than after the choice, by more than a quarter, bring another profile on both ranks.
func TestTunerLooksAgain(t *testing.T) {
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := layersUnderTest()["dropless"]
		cfg.Overlap.Auto = true
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		u := l.tuner
		u.steps = warmSteps + 2*profileSteps
		u.choose()
		for look, taken := range []float64{1, 1.2, 0.9, 1.3} {
			u.steps += lookAgain
			u.taken = taken + float64(w.Rank()) // the other's differs
			if err := u.stepped(t.Context(), l); err != nil {
				return err
			}
			if again := look == 3; u.decided == again || (u.phase() >= 0) != again {
				return fmt.Errorf("look %d: decided %v, phase %d", look, u.decided, u.phase())
			}
			if look == 2 {
				u.usual /= 1.1 // of 3 by both: now 1.3 + 2.3 is more than a quarter above it
			}
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestTunerFillsTheGap: as many chunks as end before the first part of the answers is there; none where the link is what takes longest.
func TestTunerFillsTheGap(t *testing.T) {
	of := func(s OpSeconds) profiled { return profiled{pass: schedule.Backward, one: s, many: s, most: 1} }
	require.Equal(t, 4, of(OpSeconds{Dispatch: 1, Experts: 8, Combine: 1, Background: 2, Chunks: 1}).bestChunks(1), "8 seconds of experts in one part, 2 a chunk")
	require.Equal(t, 1, of(OpSeconds{Dispatch: 8, Experts: 1, Combine: 8, Background: 2, Chunks: 1}).bestChunks(1), "half of one is hidden")
	require.Zero(t, of(OpSeconds{Dispatch: 8, Combine: 8, Background: 2, Chunks: 1}).bestChunks(1), "the link is never idle")
	require.Zero(t, of(OpSeconds{Dispatch: 1, Experts: 8}).bestChunks(1), "there are none")
}

// sums is a background of all-reduces over a view of its own.
type sums struct {
	comm *collective.Comm
	left [][]float32
	ran  int
	fail error
}

func (s *sums) Ready() int { return len(s.left) }

func (s *sums) Run(ctx context.Context) error {
	if s.fail != nil {
		return s.fail
	}
	next := s.left[0]
	s.left = s.left[1:]
	s.ran++
	return s.comm.AllReduce(ctx, next)
}

// TestOverlapBackground runs collectives between a pass's exchanges, of any degree: they are right, and so are the layer's bits.
func TestOverlapBackground(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	plain := layersUnderTest()["dropless"]
	want := trainTwice(t, inprocWorlds(1), plain, x, dy, []int{bitsTokens})
	for _, degree := range []int{1, 2, 4} {
		worlds := inprocWorlds(3)
		res := trainEach(t, worlds, x, dy, cutsOf(splits[3][0]), func(w *World) (Config, func() error) {
			s := &sums{comm: w.Comm()}
			for i := range 4 { // of which the first pass runs all
				s.left = append(s.left, []float32{float32(i), float32(w.Rank())})
			}
			all := s.left
			cfg := plain
			cfg.Overlap = Overlap{Degree: degree, Background: s}
			return cfg, func() error {
				if s.ran != 4 {
					return fmt.Errorf("%d chunks ran", s.ran)
				}
				for i, v := range all {
					if v[0] != float32(3*i) || v[1] != 3 {
						return fmt.Errorf("chunk %d is %v", i, v)
					}
				}
				return nil
			}
		})
		requireSameBits(t, want, res)
	}
	broken := errors.New("no ink")
	errs := onRanks(inprocWorlds(2), func(w *World) error {
		cfg := plain
		cfg.Overlap.Background = &sums{comm: w.Comm(), left: [][]float32{{1}}, fail: broken}
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		if _, err := l.Forward(t.Context(), x); err != nil {
			return err
		}
		_, err = l.Backward(t.Context(), dy)
		return err
	})
	for _, err := range errs {
		require.ErrorIs(t, err, broken)
	}
}

func TestOverlapIsValidated(t *testing.T) {
	cfg := layersUnderTest()["dropless"]
	cfg.Overlap.Degree = -1
	require.ErrorContains(t, cfg.Validate(1), "Overlap.Degree is -1")
}
