package schedule

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// wholeTimes rounds a plan's times so that the virtual clock, which counts nanoseconds, has them
// exactly.
func wholeTimes(g *Graph, costs *Costs) []time.Duration {
	times := make([]time.Duration, len(g.Tasks))
	for i := range times {
		times[i] = time.Duration(costs.Time(&g.Tasks[i]) * 1e9)
	}
	return times
}

// position finds a task in its graph.
func position(g *Graph, t *Task) int {
	for i := range g.Tasks {
		if &g.Tasks[i] == t {
			return i
		}
	}
	return -1
}

// TestExecuteTakesWhatSimulateSays runs graphs of all kinds against a virtual clock, where each
// task takes as long as it costs.
func TestExecuteTakesWhatSimulateSays(t *testing.T) {
	draws := 200
	if testing.Short() {
		draws = 20
	}
	drawn := rapid.Custom(func(t *rapid.T) func() (*Graph, *Costs) {
		g, costs := drawGraph(t), drawCosts(t)
		return func() (*Graph, *Costs) { return g, costs }
	})
	for seed := range draws {
		g, costs := drawn.Example(seed)()
		synctest.Test(t, func(t *testing.T) {
			times := wholeTimes(g, costs)
			line, err := Execute(t.Context(), g, func(_ context.Context, task *Task) error {
				time.Sleep(times[position(g, task)]) // sleep-ok: on the bubble's clock
				return nil
			})
			require.NoError(t, err)
			want := make([]float64, len(times))
			for i, d := range times {
				want[i] = d.Seconds()
			}
			simulated := walk(g, want)
			require.InDelta(t, simulated.Makespan(), line.Makespan(), 1e-6)
			for i, s := range simulated.Spans {
				require.InDelta(t, s.Start, line.Spans[i].Start, 1e-6, "%v", &g.Tasks[i])
				require.InDelta(t, s.End, line.Spans[i].End, 1e-6, "%v", &g.Tasks[i])
			}
		})
	}
}

// TestExecuteKeepsOrder watches the real thing: one task a resource at a time, in order, and none
// before what it comes after.
func TestExecuteKeepsOrder(t *testing.T) {
	g := Pipeline{Pass: Backward, Chunks: 8, Background: 3, SplitBackward: true}.Graph()
	for i := range g.Tasks {
		if g.Tasks[i].Op == Weights {
			g.Tasks[i].Resource = Intra // so that all three are busy
		}
	}
	var (
		lock  sync.Mutex
		ended = make([]bool, len(g.Tasks))
		last  = [Resources]int{-1, -1, -1}
		busy  [Resources]atomic.Int32
	)
	_, err := Execute(t.Context(), g, func(_ context.Context, task *Task) error {
		i := position(g, task)
		assert.EqualValues(t, 1, busy[task.Resource].Add(1))
		defer busy[task.Resource].Add(-1)
		runtime.Gosched()
		lock.Lock()
		defer lock.Unlock()
		assert.Greater(t, i, last[task.Resource])
		last[task.Resource], ended[i] = i, true
		assert.True(t, allEnded(ended, task.After))
		return nil
	})
	require.NoError(t, err)
	for i, done := range ended {
		require.True(t, done, "task %d", i)
	}
}

// TestExecuteStopsAtTheFirstError: the others' context ends, no task starts, and the first error is
// the one that is returned.
func TestExecuteStopsAtTheFirstError(t *testing.T) {
	g := Pipeline{Chunks: 4, Background: 1}.Graph()
	for victim := range g.Tasks {
		synctest.Test(t, func(t *testing.T) {
			broken := errors.New("cable cut")
			var failedAt atomic.Int64
			line, err := Execute(t.Context(), g, func(ctx context.Context, task *Task) error {
				at := failedAt.Load()
				assert.True(t, at == 0 || time.Now().UnixNano() == at, "%v started after the error", task)
				if position(g, task) == victim {
					time.Sleep(time.Millisecond) // sleep-ok: on the bubble's clock
					failedAt.Store(time.Now().UnixNano())
					return broken
				}
				select {
				case <-time.After(2 * time.Second):
					return nil
				case <-ctx.Done():
					return errors.New("a consequence")
				}
			})
			require.Equal(t, broken, err)
			require.Equal(t, Span{}, line.Spans[victim])
		})
	}
}

func TestExecuteEndsWithItsContext(t *testing.T) {
	g := &Graph{Tasks: []Task{{Op: Dense}, {Op: Dispatch, Resource: Inter, After: []int{0}}, {Op: Expert, After: []int{1}}}}
	reason := errors.New("the job is over")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			time.Sleep(5 * time.Second) // sleep-ok: on the bubble's clock
			cancel(reason)
		}()
		ran := 0
		line, err := Execute(ctx, g, func(ctx context.Context, _ *Task) error {
			ran++
			select {
			case <-time.After(3 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		require.Equal(t, reason, err)
		require.Equal(t, 2, ran, "the dense part ended, the first dispatch was cut off")
		require.Equal(t, Span{0, 3}, line.Spans[0])
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Execute(ctx, g, func(context.Context, *Task) error { t.Error("a task ran"); return nil })
	require.ErrorIs(t, err, context.Canceled)
}

// TestExecuteThatEndedIsNoError even if the context ends right then.
func TestExecuteThatEndedIsNoError(t *testing.T) {
	g := &Graph{Tasks: []Task{{Op: Expert, Work: Work{1, 1}}}}
	ctx, cancel := context.WithCancel(t.Context())
	line, err := Execute(ctx, g, func(context.Context, *Task) error { cancel(); return nil })
	require.NoError(t, err)
	require.Positive(t, line.Spans[0].End)
	_, err = Execute(t.Context(), &Graph{}, nil)
	require.NoError(t, err)
}

func TestExecuteRefusesWhatCouldBlock(t *testing.T) {
	require.PanicsWithValue(t, "schedule: task 0 (dense 0.0) comes after task 0, which does not stand before it", func() {
		Execute(t.Context(), &Graph{Tasks: []Task{{After: []int{0}}}}, nil)
	})
}

func BenchmarkExecute(b *testing.B) {
	g := Pipeline{Chunks: 4, Background: 1}.Graph()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Execute(b.Context(), g, func(context.Context, *Task) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
