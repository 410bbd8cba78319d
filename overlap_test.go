package switchyard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
)

// TestOverlapSameBits trains with exchanges in chunks, more of them than experts too, and compares
// with one rank in one chunk.
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
						cfg.Overlap = Overlap{Degree: degree, Observe: func(pass schedule.Pass, line schedule.Timeline) {
							passes.Add(1)
							chunks := degree
							if cfg.Experts/ranks < degree { // cut by ranks
								chunks = min(degree, ranks)
							}
							if pass == schedule.Backward { // gradients of weights are tasks of their own
								require.Len(t, line.Spans, 4*chunks+1)
								return
							}
							require.Len(t, line.Spans, 3*chunks+1)
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

// TestOverlapWithCompression: with compression and a shared expert, overlap has the bits of as many
// ranks without overlap.
func TestOverlapWithCompression(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["dropless"]
	cfg.Compression = Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.4, Compensation: lsh.LearnedGain}}
	cfg.Shared = expert.SwiGLU{Hidden: 5}
	cuts := cutsOf(splits[3][0])
	want := trainTwiceWith(t, inprocWorlds(3), cfg, x, dy, router.Batch{}, cuts)
	cfg.Overlap.Degree = 2
	requireSameBits(t, want, trainTwiceWith(t, inprocWorlds(3), cfg, x, dy, router.Batch{}, cuts))
}

// TestOverlapEndsWithItsContext: a pass whose context has ended returns its cause, with nothing
// left running.
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
		// The other rank never comes.
		_, err := layers[0].Forward(ctx, randomMatrix(rand.New(rand.NewPCG(1, 1)), 8, bitsDim))
		done <- err
	}()
	cancel(gone)
	require.ErrorIs(t, <-done, gone)
	for _, w := range worlds {
		require.NoError(t, w.Close())
	}
}

// TestOverlapAutoSameBits: the steps that are timed, and those after the choice, have the same
// bits.
func TestOverlapAutoSameBits(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for long")
	}
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
			// The tuner times one and four chunks, then at most all three, twice.
			for range 2 + 7*(2+3+3) + 2 {
				if _, err := l.Forward(t.Context(), x); err != nil {
					return err
				}
				dx, err := l.Backward(t.Context(), dy)
				if err != nil {
					return err
				}
				if err := l.Step(t.Context(), expert.NewSGD(1e-6)); err != nil {
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
				for _, pass := range []schedule.Pass{schedule.Forward, schedule.Backward} {
					of := pipeline.Kind{Pass: pass, Train: true, Alone: true}
					require.Equal(t, l.stages.Path.Chunks(of), again.stages.Path.Chunks(of))
				}
				require.Equal(t, l.Stats().Overlap.Predicted, again.stages.Path.Predicted())
				require.Equal(t, profile, again.OverlapProfile())
				next.Overlap.Profile = &OverlapProfile{Ranks: 3, Most: 4}
				if _, err = NewLayer(w, next); err == nil || !strings.Contains(err.Error(), "Profile: autotune: the profile is of 3 ranks") {
					return fmt.Errorf("another job's profile: %w", err)
				}
			}
			if auto && (l.OverlapProfile() == nil || l.Stats().Overlap.Predicted == 0) {
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

// TestOverlapBackground runs collectives between a pass's exchanges, of any degree: they are right,
// and so are the layer's bits.
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
					return fmt.Errorf("%d collectives ran", s.ran)
				}
				for i, v := range all {
					if v[0] != float32(3*i) || v[1] != 3 {
						return fmt.Errorf("collective %d is %v", i, v)
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

// TestOneChunkOverlapsWeights: if both take long enough, a layer that chose one chunk computes
// gradients of weights while those of rows travel, with the same bits.
func TestOneChunkOverlapsWeights(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["dropless"]
	want := trainTwice(t, inprocWorlds(2), cfg, x, dy, cutsOf(splits[2][0]))
	for _, combine := range []float64{0, 1e-4, 1e-3} { // the last is long enough
		one, most := OpSeconds{Experts: 1e-3, Weights: 1e-3, Combine: combine, Whole: 4e-3}, OpSeconds{Experts: 1e-3, Weights: 1e-3, Combine: combine, Whole: 5e-3}
		profile := profileOf(4, map[int]OpSeconds{1: one, 4: most})
		got := trainEach(t, inprocWorlds(2), x, dy, cutsOf(splits[2][0]), func(*World) (Config, func() error) {
			cfg := cfg
			cfg.Overlap = Overlap{Auto: true, Profile: profile}
			return cfg, func() error { return nil }
		})
		requireSameBits(t, want, got)
	}
}

// profileOf returns a profile whose numbers of chunks took these times in both passes.
func profileOf(most int, of map[int]OpSeconds) *OverlapProfile {
	p := &OverlapProfile{Ranks: 2, Most: most}
	for _, d := range slices.Sorted(maps.Keys(of)) {
		s := of[d]
		p.Timed = append(p.Timed, DegreeSeconds{Chunks: d, Steps: 5, Forward: s, Backward: s, Slowest: 2 * s.Whole})
	}
	return p
}

// held is experts that wait for a signal before they compute gradients of weights.
type held struct {
	expert.Expert
	until <-chan struct{} // nil: it does not wait
}

// String is the same on all ranks.
func (held) String() string { return "held" }

func (h held) New(s expert.Shape) (expert.Group, error) {
	g, err := h.Expert.New(s)
	if err != nil {
		return nil, err
	}
	return heldGroup{g.(expert.SplitBackward), h.until}, nil
}

type heldGroup struct {
	expert.SplitBackward
	until <-chan struct{}
}

func (g heldGroup) BackwardWeights(saved expert.Saved) {
	if g.until != nil {
		select {
		case <-g.until:
		case <-time.After(10 * time.Second): // only a failure takes so long
			panic("the gradients of the rows have not returned")
		}
	}
	g.SplitBackward.BackwardWeights(saved)
}

// TestRowsReturnBeforeWeights: rank 1 ends its backward pass before rank 0 has started on gradients
// of weights.
func TestRowsReturnBeforeWeights(t *testing.T) {
	long := OpSeconds{Experts: 1e-3, Weights: 1e-3, Combine: 1e-3, Whole: 4e-3}
	slow := long
	slow.Whole = 5e-3
	profile := profileOf(4, map[int]OpSeconds{1: long, 4: slow})
	x := randomMatrix(rand.New(rand.NewPCG(1, 2)), 8, bitsDim)
	home := make(chan struct{})
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := layersUnderTest()["dropless"]
		cfg.Overlap = Overlap{Auto: true, Profile: profile}
		of := held{Expert: cfg.Expert}
		if w.Rank() == 0 {
			of.until = home
		}
		cfg.Expert = of
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		if _, err := l.Forward(t.Context(), x); err != nil {
			return err
		}
		_, err = l.Backward(t.Context(), x)
		if w.Rank() == 1 {
			close(home)
		}
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestDegreesBetween: a layer of three experts a rank and group of experts takes a number of chunks
// that does not divide the groups, with the same bits.
func TestDegreesBetween(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := layersUnderTest()["dropless"]
		cfg.Experts, cfg.Overlap = 24, Overlap{Degree: 4}
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		var want []float32
		for _, d := range [][2]int{{1, 1}, {3, 3}, {3, 2}, {4, 3}} {
			if err := l.SetDegree(d[0], d[1]); err != nil {
				return err
			}
			if _, err := l.Forward(t.Context(), x); err != nil {
				return err
			}
			dx, err := l.Backward(t.Context(), dy)
			if err != nil {
				return err
			}
			if want == nil {
				want = append(want, dx.Data...)
			}
			if !slices.Equal(want, dx.Data) {
				return fmt.Errorf("%v chunks: other gradients", d)
			}
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestSetDegree goes from what a layer is built with to other degrees and back, with the same bits.
func TestSetDegree(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	var chunks [2]int // on rank 0, as observed
	cfg := layersUnderTest()["dropless"]
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := cfg
		cfg.Overlap = Overlap{Auto: true, Degree: 4}
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		l.Observe(func(pass schedule.Pass, line schedule.Timeline) {
			if w.Rank() != 0 {
				return
			}
			chunks[pass] = 0
			for _, task := range line.Graph.Tasks {
				if task.Op == schedule.Expert {
					chunks[pass]++
				}
			}
		})
		var want []float32
		for _, d := range [][2]int{{1, 1}, {2, 1}, {3, 4}, {4, 2}} {
			if err := l.SetDegree(d[0], d[1]); err != nil {
				return err
			}
			if _, err := l.Forward(t.Context(), x); err != nil {
				return err
			}
			dx, err := l.Backward(t.Context(), dy)
			if err != nil {
				return err
			}
			if want == nil {
				want = append(want, dx.Data...)
			}
			if !slices.Equal(want, dx.Data) {
				return fmt.Errorf("%v chunks: other gradients", d)
			}
			if s := l.Stats().Overlap; s.Auto || [2]int{s.Forward, s.Backward} != d {
				return fmt.Errorf("%v chunks: %+v", d, s)
			}
			if w.Rank() == 0 && chunks != d {
				return fmt.Errorf("%v chunks: %v were seen", d, chunks)
			}
		}
		for _, d := range [][2]int{{0, 1}, {1, 5}} {
			if err := l.SetDegree(d[0], d[1]); err == nil || !strings.Contains(err.Error(), "want 1 to 4") {
				return fmt.Errorf("%v chunks: %w", d, err)
			}
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

func TestOverlapIsValidated(t *testing.T) {
	cfg := layersUnderTest()["dropless"]
	cfg.Overlap.Degree = -1
	require.ErrorContains(t, cfg.Validate(1), "Overlap.Degree is -1")
}

// TestStatsBoard: readers get a copy, while passes write.
func TestStatsBoard(t *testing.T) {
	var b statsBoard
	b.exchanging.Add(int64(time.Second))
	b.last.Store(&Stats{Tokens: 3, Choices: []int{1, 2}})
	got := b.get()
	require.Equal(t, time.Second, got.Exchanging)
	got.Choices[0] = 9
	require.Equal(t, []int{1, 2}, b.get().Choices)
}
