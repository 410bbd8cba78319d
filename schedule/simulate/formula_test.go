package simulate

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/schedule"
)

// exchange is one backward pass of FSMoE's section 4: chunks times of a piece, and the gradients
// after the last dispatch.
type exchange struct {
	r                          int
	a2a, gather, scatter, exps float64
	gradients                  float64
}

// makespan simulates it.
func (e exchange) makespan() float64 {
	line := schedule.Simulate(e.graph(), unitCosts())
	return line.Makespan()
}

func (e exchange) graph() *schedule.Graph {
	r := float64(e.r)
	l := Layer{
		schedule.Dispatch: {Starts: 1, Size: r * e.a2a}, schedule.Combine: {Starts: 1, Size: r * e.a2a}, schedule.Gather: {Starts: 1, Size: r * e.gather}, schedule.Scatter: {Starts: 1, Size: r * e.scatter}, schedule.Expert: {Starts: 1, Size: r * e.exps / 2},
	}
	plan := Plan{BackwardDegrees: []int{e.r}, Carried: e.gradients, Within: [][]float64{{e.gradients}}}
	return BuildBackward([]Layer{l}, &plan)
}

// fourCases is FSMoE's section 4.2: which of its four cases holds, by its conditions Q1 to Q7, and
// that case's time.
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

// TestMakespanIsFSMoEsFormula compares the simulator with the four cases where these are exact:
// all-gather and reduce-scatter equally long.
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

// TestFormulaIsABoundForUnequalTimes: with all-gather and reduce-scatter of different lengths, the
// largest of the four times is never above the makespan, and near it.
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

// TestPipelineIsTheSimulatedGraph: what a layer with sharded experts runs takes as long as the
// graph that the planner costs, for any costs and degree, with links within and between nodes at
// once and one at a time.
func TestPipelineIsTheSimulatedGraph(t *testing.T) {
	random := seeded(5)
	differ := 0
	for range 2000 {
		degree, costs := 1+random.IntN(8), schedule.Costs{}
		layer := Layer{}
		for _, op := range []schedule.Op{schedule.Dispatch, schedule.Gather, schedule.Expert, schedule.Scatter, schedule.Combine} {
			costs[op] = schedule.Linear{Alpha: random.Float64() / 8, Beta: random.Float64()}
			layer[op] = schedule.Work{Starts: 1, Size: 4}
		}
		var times [2]float64
		for i, one := range []bool{false, true} {
			plan := Plan{Options: Options{OneStream: one}, ForwardDegrees: []int{degree}}
			simulated := schedule.Simulate(BuildForward([]Layer{layer}, &plan), &costs)
			runs := schedule.Pipeline{Chunks: degree, Sharded: true, OneStream: one}.Graph()
			for k := range runs.Tasks {
				task := &runs.Tasks[k]
				task.Work = cut(layer[task.Op], degree, 1) // none for the shared expert, which the layer lacks
			}
			line := schedule.Simulate(runs, &costs)
			times[i] = line.Makespan()
			require.InDelta(t, simulated.Makespan(), times[i], 1e-9, "degree %d, one stream %v", degree, one)
		}
		require.LessOrEqual(t, times[0], times[1]+1e-9)
		if times[1] > 1.01*times[0] {
			differ++
		}
	}
	require.Greater(t, differ, 500, "cases in which both links at once are faster")
}
