package schedule

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// exchange is one backward pass of FSMoE's section 4: chunks times of a piece, and the gradients after the last dispatch.
type exchange struct {
	r                          int
	a2a, gather, scatter, exps float64
	gradients                  float64
}

// makespan simulates it.
func (e exchange) makespan() float64 {
	line := Simulate(e.graph(), unitCosts())
	return line.Makespan()
}

func (e exchange) graph() *Graph {
	r := float64(e.r)
	l := Layer{
		Dispatch: {1, r * e.a2a}, Combine: {1, r * e.a2a}, Gather: {1, r * e.gather}, Scatter: {1, r * e.scatter}, Expert: {1, r * e.exps / 2},
	}
	plan := Plan{BackwardDegrees: []int{e.r}, Carried: e.gradients, Within: [][]float64{{e.gradients}}}
	return BuildBackward([]Layer{l}, &plan)
}

// fourCases is FSMoE's section 4.2: which of its four cases holds, by its conditions Q1 to Q7, and that case's time.
func (e exchange) fourCases() (which int, seconds float64) {
	r := float64(e.r)
	pair := e.gather + e.scatter
	q1 := e.a2a > e.gather
	q2 := r*e.exps > 2*(r-1)*e.a2a
	q3 := r*e.exps > (r-1)*pair
	q4 := e.gradients > pair
	q5 := e.gradients > r*e.exps-2*(r-1)*e.a2a+pair
	q6 := e.gradients > r*pair-2*(r-1)*e.a2a
	switch {
	case q1 && !q2 && q4, q1 && q2 && q5, !q1 && !q3 && q6, !q1 && q3 && q5:
		return 1, 2*r*e.a2a + e.gradients
	case q1 && q2 && !q5, !q1 && q3 && !q5:
		return 2, 2*e.a2a + pair + r*e.exps
	case q1 && !q2 && !q4:
		return 3, 2*r*e.a2a + pair
	}
	return 4, 2*e.a2a + r*pair
}

// TestMakespanIsFSMoEsFormula compares the simulator with the four cases where these are exact: all-gather and
// reduce-scatter equally long.
func TestMakespanIsFSMoEsFormula(t *testing.T) {
	draws := 100_000
	if testing.Short() {
		draws = 10_000
	}
	random := seeded(1)
	var seen [5]int
	for range draws {
		e := exchange{r: 1 + random.IntN(16), a2a: 4 * random.Float64(), gather: 4 * random.Float64(), exps: 8 * random.Float64()}
		e.scatter = e.gather
		if random.IntN(2) == 0 {
			e.gradients = 40 * random.Float64()
		}
		which, want := e.fourCases()
		seen[which]++
		if got := e.makespan(); math.Abs(got-want) > 1e-9*want {
			require.Equal(t, want, got, "case %d of %+v", which, e)
		}
	}
	for which := 1; which <= 4; which++ {
		require.Greater(t, seen[which], draws/100, "case %d", which)
	}
}

// TestFormulaIsABoundForUnequalTimes: with all-gather and reduce-scatter of different lengths, the largest of the four times is
// never above the makespan, and near it.
func TestFormulaIsABoundForUnequalTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		time := rapid.Float64Range(0.01, 4)
		e := exchange{
			r: rapid.IntRange(1, 16).Draw(t, "r"), a2a: time.Draw(t, "a2a"), gather: time.Draw(t, "gather"), exps: time.Draw(t, "experts"),
			gradients: 5 * time.Draw(t, "gradients"),
		}
		e.scatter = e.gather * rapid.Float64Range(0.5, 2).Draw(t, "ratio")
		r, pair := float64(e.r), e.gather+e.scatter
		most := max(2*r*e.a2a+e.gradients, 2*e.a2a+pair+r*e.exps, 2*r*e.a2a+pair, 2*e.a2a+r*pair)
		got := e.makespan()
		require.GreaterOrEqual(t, got, most*(1-1e-12))
		require.LessOrEqual(t, got, most*1.2)
	})
}

// byEvents runs a graph the long way: a clock that goes from event to event, lanes that take the first task of their queue once
// all that it comes after has ended.
func byEvents(g *Graph, costs *Costs) []Span {
	spans := make([]Span, len(g.Tasks))
	started, ended := make([]bool, len(g.Tasks)), make([]bool, len(g.Tasks))
	var queues [Lanes][]int
	for i := range g.Tasks {
		queues[g.Tasks[i].Lane] = append(queues[g.Tasks[i].Lane], i)
	}
	running := [Lanes]int{-1, -1, -1}
	for now := 0.0; ; {
		for changed := true; changed; { // all that happens at this moment
			changed = false
			for lane := range running {
				if i := running[lane]; i >= 0 && spans[i].End <= now {
					ended[i], running[lane], changed = true, -1, true
				}
				if running[lane] < 0 && len(queues[lane]) > 0 && allEnded(ended, g.Tasks[queues[lane][0]].After) {
					i := queues[lane][0]
					queues[lane] = queues[lane][1:]
					spans[i] = Span{now, now + costs.Time(&g.Tasks[i])}
					started[i], running[lane], changed = true, i, true
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
		layers, costs := drawLayers(t, 3), drawCosts(t)
		plan := drawPlan(t, layers)
		g := BuildStep(layers, &plan)
		require.NoError(t, g.Validate())
		want := byEvents(g, costs)
		got := Simulate(g, costs).Spans
		for i := range want {
			require.InDelta(t, want[i].Start, got[i].Start, 1e-9)
			require.InDelta(t, want[i].End, got[i].End, 1e-9)
		}
	})
}

func TestSimulateUnequalExchangesByEvents(t *testing.T) {
	random := seeded(2)
	for range 10_000 {
		e := exchange{
			r: 1 + random.IntN(8), a2a: random.Float64(), gather: random.Float64(), scatter: random.Float64(), exps: random.Float64(),
			gradients: 3 * random.Float64(),
		}
		line := Timeline{Spans: byEvents(e.graph(), unitCosts())}
		if want, got := line.Makespan(), e.makespan(); math.Abs(got-want) > 1e-9*want {
			require.Equal(t, want, got, "%+v", e)
		}
	}
}

func TestNegativeTimesPanic(t *testing.T) {
	g := &Graph{Tasks: []Task{{Op: Expert, Work: Work{1, 1}}}}
	require.PanicsWithValue(t, "schedule: expert 0.0 takes -1 s; must not be negative", func() { Simulate(g, &Costs{Expert: {Alpha: -1}}) })
}
