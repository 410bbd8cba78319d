package schedule

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// byEvents runs a graph the long way: a clock that goes from event to event, resources that take
// the first task of their queue once all that it comes after has ended.
func byEvents(g *Graph, costs *Costs) []Span {
	spans := make([]Span, len(g.Tasks))
	started, ended := make([]bool, len(g.Tasks)), make([]bool, len(g.Tasks))
	var queues [Resources][]int
	for i := range g.Tasks {
		queues[g.Tasks[i].Resource] = append(queues[g.Tasks[i].Resource], i)
	}
	running := [Resources]int{-1, -1, -1}
	for now := 0.0; ; {
		for changed := true; changed; { // all that happens at this moment
			changed = false
			for resource := range running {
				if i := running[resource]; i >= 0 && spans[i].End <= now {
					ended[i], running[resource], changed = true, -1, true
				}
				if running[resource] < 0 && len(queues[resource]) > 0 && allEnded(ended, g.Tasks[queues[resource][0]].After) {
					i := queues[resource][0]
					queues[resource] = queues[resource][1:]
					spans[i] = Span{now, now + costs.Time(&g.Tasks[i])}
					started[i], running[resource], changed = true, i, true
				}
			}
		}
		next := math.Inf(1)
		for _, i := range running {
			if i >= 0 {
				next = min(next, spans[i].End)
			}
		}
		if math.IsInf(next, 1) {
			return spans
		}
		now = next
	}
}

func allEnded(ended []bool, tasks []int) bool {
	for _, i := range tasks {
		if !ended[i] {
			return false
		}
	}
	return true
}

// TestSimulateIsAnEventSimulation compares the walk with the long way on graphs of all kinds.
func TestSimulateIsAnEventSimulation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, costs := drawGraph(t), drawCosts(t)
		require.NoError(t, g.Validate())
		want := byEvents(g, costs)
		got := Simulate(g, costs).Spans
		for i := range want {
			require.InDelta(t, want[i].Start, got[i].Start, 1e-9)
			require.InDelta(t, want[i].End, got[i].End, 1e-9)
		}
	})
}

// TestRecomputeIsSimulate with times of its own, in the same memory.
func TestRecomputeIsSimulate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, costs := drawGraph(t), drawCosts(t)
		want := Simulate(g, costs)
		times := make([]float64, len(g.Tasks))
		for i := range times {
			times[i] = costs.Time(&g.Tasks[i])
		}
		got := Timeline{Graph: g, Spans: make([]Span, len(g.Tasks))}
		for range 2 {
			require.Equal(t, want.Makespan(), got.Recompute(times))
			require.Equal(t, want.Spans, got.Spans)
		}
	})
}

func TestNegativeTimesPanic(t *testing.T) {
	g := &Graph{Tasks: []Task{{Op: Expert, Work: Work{1, 1}}}}
	require.PanicsWithValue(t, "schedule: expert 0.0 takes -1 s; must not be negative", func() { Simulate(g, &Costs{Expert: {Alpha: -1}}) })
}
