package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/autotune"
)

// log is the steps of a pass in the order in which they ended.
type log struct {
	mu    sync.Mutex
	steps []string
	fail  string // the step that fails
}

var errBroken = errors.New("cable cut")

func (l *log) add(name string, chunk int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	step := fmt.Sprint(name, " ", chunk)
	l.steps = append(l.steps, step)
	if step == l.fail {
		return errBroken
	}
	return nil
}

// Steps log themselves.
func (l *log) do() Steps {
	return Steps{
		Dispatch: func(_ context.Context, i int) error { return l.add("dispatch", i) },
		Combine:  func(_ context.Context, i int) error { return l.add("combine", i) },
		Gather:   func(_ context.Context, i int) error { return l.add("gather", i) },
		Scatter:  func(_ context.Context, i int) error { return l.add("scatter", i) },
		Experts:  func(i int) { l.add("experts", i) },
		Weights:  func(i int) { l.add("weights", i) },
		Shared:   func() { l.add("shared", 0) },
	}
}

// waiting is background collectives, of which a number is ready.
type waiting struct {
	ready, ran int
	err        error
}

func (w *waiting) Ready() int                { return w.ready }
func (w *waiting) Run(context.Context) error { w.ran++; return w.err }

// kind is a pass of training that runs alone.
func kind(of schedule.Pass) Kind { return Kind{Pass: of, Train: true, Alone: true} }

func newStage(cfg Config) *Stage {
	cfg.Exchanging = new(atomic.Int64)
	return New(cfg)
}

// known is a profile by which one chunk is the fastest, and four background collectives fit.
func known() *autotune.Profile {
	one := autotune.OpSeconds{Dispatch: 1, Experts: 8, Combine: 1, Background: 2, Collectives: 1, Whole: 12}
	four := autotune.OpSeconds{Dispatch: 1, Experts: 8, Combine: 1, Whole: 13}
	return &autotune.Profile{Ranks: 1, Most: 4, Timed: []autotune.DegreeSeconds{
		{Chunks: 1, Steps: 7, Forward: one, Backward: one, Slowest: 24},
		{Chunks: 4, Steps: 7, Forward: four, Backward: four, Slowest: 26},
	}}
}

// alone sums over one rank.
type alone struct{}

func (alone) AllReduce(context.Context, []float32) error { return nil }

func tuner(known *autotune.Profile) *autotune.Tuner {
	return autotune.New(autotune.Config{Comm: alone{}, Ranks: 1, Most: 4, Known: known})
}

// TestOneChunkRunsInTurn: without anything to overlap, the steps run one after the other.
func TestOneChunkRunsInTurn(t *testing.T) {
	for _, split := range []bool{false, true} {
		s := newStage(Config{Most: 1, SplitBackward: split})
		var forward, backward log
		require.NoError(t, s.Run(t.Context(), kind(schedule.Forward), 1, forward.do()))
		require.Equal(t, []string{"dispatch 0", "shared 0", "experts 0", "combine 0"}, forward.steps)
		require.NoError(t, s.Run(t.Context(), kind(schedule.Backward), 1, backward.do()))
		want := []string{"dispatch 0", "shared 0", "experts 0", "combine 0"}
		if split {
			want = []string{"dispatch 0", "shared 0", "experts 0", "weights 0", "combine 0"}
		}
		require.Equal(t, want, backward.steps)
		require.Positive(t, s.cfg.Exchanging.Load())
	}
}

// TestShardedChunks: each chunk is gathered after its dispatch and scattered before its combine, as
// one chunk in turn and as a graph of three, and an error of either ends the pass.
func TestShardedChunks(t *testing.T) {
	s := newStage(Config{Most: 3, Sharded: true})
	var one log
	require.NoError(t, s.Run(t.Context(), kind(schedule.Forward), 1, one.do()))
	require.Equal(t, []string{"dispatch 0", "gather 0", "shared 0", "experts 0", "scatter 0", "combine 0"}, one.steps)
	for _, stream := range []bool{false, true} {
		s := newStage(Config{Most: 3, Sharded: true, OneStream: stream})
		var l log
		var seen schedule.Timeline
		s.Observe(func(_ schedule.Pass, line schedule.Timeline) { seen = line })
		require.NoError(t, s.Run(t.Context(), kind(schedule.Forward), 3, l.do()))
		require.Len(t, l.steps, 16)
		for i := range 3 {
			last := -1
			for _, step := range []string{"dispatch", "gather", "experts", "scatter", "combine"} {
				at := slices.Index(l.steps, fmt.Sprint(step, " ", i))
				require.Greater(t, at, last, "%s of chunk %d in %v", step, i, l.steps)
				last = at
			}
		}
		want := schedule.Pipeline{Chunks: 3, Sharded: true, OneStream: stream}.Graph()
		require.Equal(t, want.String(), seen.Graph.String())
	}
	for _, chunks := range []int{1, 3} {
		for _, step := range []string{"gather 0", "scatter 0"} {
			l := log{fail: step}
			require.ErrorIs(t, s.Run(t.Context(), kind(schedule.Backward), chunks, l.do()), errBroken)
			require.NotContains(t, l.steps, "combine 0")
		}
	}
}

// TestChunksRunAsAGraph: every step of every chunk runs once, and an observer sees the graph.
func TestChunksRunAsAGraph(t *testing.T) {
	background := &waiting{ready: 2}
	var seen []schedule.Timeline
	s := newStage(Config{Most: 3, SplitBackward: true, Background: background})
	s.Observe(func(pass schedule.Pass, line schedule.Timeline) {
		require.Equal(t, schedule.Backward, pass)
		seen = append(seen, line)
	})
	var l log
	require.NoError(t, s.Run(t.Context(), kind(schedule.Backward), 3, l.do()))
	require.ElementsMatch(t, []string{
		"dispatch 0", "dispatch 1", "dispatch 2", "shared 0", "experts 0", "experts 1", "experts 2",
		"weights 0", "weights 1", "weights 2", "combine 0", "combine 1", "combine 2",
	}, l.steps)
	require.Equal(t, 2, background.ran)
	want := schedule.Pipeline{Pass: schedule.Backward, Chunks: 3, Background: 2, SplitBackward: true}.Graph()
	require.Equal(t, want.String(), seen[0].Graph.String())
	s.Observe(nil)
	require.NoError(t, s.Run(t.Context(), kind(schedule.Backward), 3, l.do()))
	require.Len(t, seen, 1)
}

// TestErrorsEndAPass: no step follows one that failed, in turn or as a graph.
func TestErrorsEndAPass(t *testing.T) {
	for _, step := range []string{"dispatch 0", "combine 0"} {
		for _, chunks := range []int{1, 2} {
			l := log{fail: step}
			s := newStage(Config{Most: chunks})
			require.Equal(t, errBroken, s.Run(t.Context(), kind(schedule.Forward), chunks, l.do()), "%s of %d", step, chunks)
			require.NotContains(t, l.steps, fmt.Sprint("combine ", chunks), "%d chunks", chunks)
			if step == "dispatch 0" {
				require.NotContains(t, l.steps, "experts 0")
			}
		}
	}
	var l log
	s := newStage(Config{Most: 1, Background: &waiting{ready: 1, err: errBroken}})
	err := s.Run(t.Context(), kind(schedule.Backward), 1, l.do())
	require.ErrorIs(t, err, errBroken)
	require.ErrorContains(t, err, "Overlap.Background")
}

// TestBackgroundOfAPass: a backward pass runs what is ready, one collective while it is timed, and
// then no more than the tuner has found to be worth it.
func TestBackgroundOfAPass(t *testing.T) {
	b := &waiting{ready: 9}
	s := newStage(Config{Most: 4, Background: b})
	require.Equal(t, 9, s.background(kind(schedule.Backward)))
	require.Zero(t, s.background(kind(schedule.Forward)))
	s = newStage(Config{Most: 4, Background: b, Tuner: tuner(known())})
	require.Equal(t, 4, s.background(kind(schedule.Backward)), "the tuner's bound")
	b.ready = 2
	require.Equal(t, 2, s.background(kind(schedule.Backward)), "no more are ready")
	require.Zero(t, newStage(Config{Most: 4}).background(kind(schedule.Backward)))
}

// TestChunksOfAPass: most without a tuner, what it says in training, and what is set by hand.
func TestChunksOfAPass(t *testing.T) {
	s := newStage(Config{Most: 4})
	require.False(t, s.Auto())
	require.Zero(t, s.Predicted())
	require.Equal(t, 4, s.Chunks(kind(schedule.Forward)))
	require.Equal(t, alltoall.ByExperts(4), s.Cut(Kind{Pass: schedule.Forward, Alone: true}))
	require.NoError(t, s.EndStep(t.Context()))

	s = newStage(Config{Most: 4, ByRanks: true, Tuner: tuner(nil)})
	require.True(t, s.Auto())
	require.Nil(t, s.Profile())
	for range 2 {
		s.EndPass(kind(schedule.Backward), time.Now()) // the warm steps
	}
	seen := map[int]int{}
	for range 14 {
		seen[s.Chunks(kind(schedule.Forward))]++
		require.Equal(t, 1, s.Chunks(Kind{Pass: schedule.Forward, Alone: true}), "of Eval")
		s.EndPass(kind(schedule.Backward), time.Now())
	}
	require.Equal(t, map[int]int{1: 7, 4: 7}, seen)
	require.Equal(t, alltoall.ByRanks(1), s.Cut(Kind{Pass: schedule.Forward, Alone: true}))

	require.EqualError(t, s.SetDegree(0, 1), "0 chunks of forward passes, want 1 to 4")
	require.EqualError(t, s.SetDegree(1, 5), "5 chunks of backward passes, want 1 to 4")
	require.True(t, s.Auto(), "nothing is changed")
	require.NoError(t, s.SetDegree(2, 3))
	require.False(t, s.Auto())
	for _, train := range []bool{false, true} {
		require.Equal(t, 2, s.Chunks(Kind{Pass: schedule.Forward, Train: train, Alone: true}))
		require.Equal(t, 3, s.Chunks(Kind{Pass: schedule.Backward, Train: train, Alone: true}))
	}
}

// TestProfileIsShared: what the tuner goes by can be read until the degree is set by hand.
func TestProfileIsShared(t *testing.T) {
	s := newStage(Config{Most: 4, Tuner: tuner(known())})
	require.Equal(t, known(), s.Profile())
	require.Equal(t, 1, s.Chunks(kind(schedule.Backward)))
	require.Equal(t, 24*time.Second, s.Predicted().Round(time.Second))
	s.Profile().Timed[0].Chunks = 9
	require.Equal(t, known(), s.Profile(), "the caller has a copy")
	require.NoError(t, s.SetDegree(1, 1))
	require.Nil(t, s.Profile())
}

// TestTimedPassesAreRecorded: a pass that the tuner times runs as a graph in one chunk too, and a
// tuner that has seen its rounds shows a profile.
func TestTimedPassesAreRecorded(t *testing.T) {
	s := newStage(Config{Most: 1, Tuner: autotune.New(autotune.Config{Comm: alone{}, Ranks: 1, Most: 1})})
	for step := 0; s.Profile() == nil; step++ {
		require.Less(t, step, 20)
		for _, pass := range []schedule.Pass{schedule.Forward, schedule.Backward} {
			begin := time.Now()
			var l log
			require.NoError(t, s.Run(t.Context(), kind(pass), s.Chunks(kind(pass)), l.do()))
			s.EndPass(kind(pass), begin)
		}
		require.NoError(t, s.EndStep(t.Context()))
	}
	timed := s.Profile().Timed[0]
	require.Positive(t, timed.Forward.Dispatch)
	require.Positive(t, timed.Backward.Experts)
	require.Positive(t, s.Predicted())
}

// TestWeightsOverlapInOneChunk if the tuner found that to be worth a goroutine.
func TestWeightsOverlapInOneChunk(t *testing.T) {
	p := known()
	for i := range p.Timed {
		p.Timed[i].Backward.Weights = 1
	}
	s := newStage(Config{Most: 4, Tuner: tuner(p), SplitBackward: true})
	home := make(chan struct{})
	var l log
	do := l.do()
	do.Combine = func(context.Context, int) error { close(home); return nil }
	do.Weights = func(int) { <-home } // the rows travel meanwhile, else this would never end
	require.NoError(t, s.Run(t.Context(), kind(schedule.Backward), 1, do))
}

// TestOnlyPassesThatRunAloneAreTimed: beside others passes run in the chosen number of chunks,
// without background collectives, and the tuner does not count them.
func TestOnlyPassesThatRunAloneAreTimed(t *testing.T) {
	background := &waiting{ready: 3}
	s := newStage(Config{Most: 4, Tuner: tuner(nil), Background: background})
	require.True(t, s.Open(true))
	require.True(t, s.Open(true), "of an evaluation, between a forward and a backward pass")
	require.False(t, s.Open(false))
	require.False(t, s.Open(true), "one of several since the last step")
	s.Close(true)
	var lines []schedule.Timeline
	s.Observe(func(_ schedule.Pass, line schedule.Timeline) { lines = append(lines, line) })
	beside := Kind{Pass: schedule.Backward, Train: true, Number: 7}
	for range 100 {
		var l log
		require.Equal(t, 1, s.Chunks(beside))
		require.NoError(t, s.Run(t.Context(), beside, 1, l.do()))
		s.EndPass(beside, time.Now())
	}
	require.NoError(t, s.EndStep(t.Context()))
	require.Nil(t, s.Profile())
	require.Zero(t, background.ran)
	require.EqualValues(t, 7, lines[0].Number)
	require.False(t, s.Open(true), "one of several is still open")
	s.Close(false)
	require.NoError(t, s.EndStep(t.Context()))
	require.True(t, s.Open(true))
}
