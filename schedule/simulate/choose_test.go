package simulate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/schedule"
	"pgregory.net/rapid"
)

func stepTime(layers []Layer, costs *schedule.Costs, plan *Plan) float64 {
	line := schedule.Simulate(BuildStep(layers, plan), costs)
	return line.Makespan()
}

// TestChooseIsNeverSlowerThanOthers: than the schedules of other systems with the same layers and
// costs.
func TestChooseIsNeverSlowerThanOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers, costs := drawLayers(t, 4), drawCosts(t)
		degrees := []int{1, 2, 3, 4, 8}
		o := Options{SharedInGap: rapid.Bool().Draw(t, "gap")}
		times := map[string]float64{}
		for _, p := range Policies() {
			plan := p.Plan(layers, costs, degrees, o)
			require.NoError(t, plan.Validate(layers), p.Name)
			times[p.Name] = stepTime(layers, costs, &plan)
		}
		for name, seconds := range times {
			require.LessOrEqual(t, times["ours"], seconds*(1+1e-9), "%s; all: %v", name, times)
		}
	})
}

// TestChooseIsNearTheBestOfRandomPlans: rapid looks for degrees and a cut of the gradients that are
// more than 1 % faster.
func TestChooseIsNearTheBestOfRandomPlans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers, costs := drawLayers(t, 3), drawCosts(t)
		other := drawPlan(t, layers)
		other.Options, other.Carried = Options{}, 0
		if other.Validate(layers) != nil {
			t.Skip("a plan that needs carried gradients")
		}
		plan := Choose(layers, costs, []int{1, 2, 3, 4, 5}, Options{})
		require.LessOrEqual(t, stepTime(layers, costs, &plan), 1.01*stepTime(layers, costs, &other))
	})
}

// TestChooseOneLayer by hand: FSMoE's case 2 forward, where r* = sqrt of what is divided over the
// start of the experts.
func TestChooseOneLayer(t *testing.T) {
	l := Layer{schedule.Dispatch: {Starts: 1, Size: 16}, schedule.Gather: {Starts: 1, Size: 8}, schedule.Expert: {Starts: 1, Size: 100}, schedule.Scatter: {Starts: 1, Size: 8}, schedule.Combine: {Starts: 1, Size: 16}}
	costs := &schedule.Costs{schedule.Dispatch: {Alpha: 0, Beta: 1}, schedule.Gather: {Alpha: 0, Beta: 1}, schedule.Expert: {Alpha: 3, Beta: 1}, schedule.Scatter: {Alpha: 0, Beta: 1}, schedule.Combine: {Alpha: 0, Beta: 1}}
	// 48 seconds of communication stand outside the experts if nothing is cut, 48/r + 3·r in r
	// pieces: least at r = 4.
	want := []float64{48 + 103, 24 + 106, 12 + 112, 6 + 124}
	neartest.Equal(t, want, Makespans([]Layer{l}, costs, schedule.Forward, DefaultDegrees(), Options{}), 1e-9)
	require.Equal(t, 2, Least(want))
	plan := Choose([]Layer{l}, costs, nil, Options{})
	require.Equal(t, []int{4}, plan.ForwardDegrees)
	// In backward experts take twice as long and cost two starts: 48/r + 6·r, and 2 and 4 are the
	// candidates around √8.
	neartest.Equal(t, []float64{48 + 206, 24 + 212, 12 + 224, 6 + 248}, Makespans([]Layer{l}, costs, schedule.Backward, DefaultDegrees(), Options{}), 1e-9)
	require.Equal(t, []int{2}, plan.BackwardDegrees, "of two that are equal the first")
}

// TestChooseCutsEachLayerByItself: one that is worth cutting, and one whose experts are slow to
// start.
func TestChooseCutsEachLayerByItself(t *testing.T) {
	large := Layer{schedule.Dispatch: {Starts: 1, Size: 16}, schedule.Expert: {Starts: 1, Size: 100}, schedule.Combine: {Starts: 1, Size: 16}}
	small := Layer{schedule.Dispatch: {Starts: 1, Size: 1}, schedule.Expert: {Starts: 1, Size: 2}, schedule.Combine: {Starts: 1, Size: 1}}
	plan := Choose([]Layer{large, small, large}, &schedule.Costs{schedule.Dispatch: {Alpha: 0, Beta: 1}, schedule.Expert: {Alpha: 3, Beta: 1}, schedule.Combine: {Alpha: 0, Beta: 1}}, nil, Options{})
	require.Equal(t, []int{4, 1, 4}, plan.ForwardDegrees)
	require.Equal(t, []int{2, 1, 2}, plan.BackwardDegrees)
}

// TestChooseFillsGapsExactly: two layers, whose second's gradients fit into the gaps of the first.
func TestChooseFillsGapsExactly(t *testing.T) {
	l := Layer{schedule.Dense: {Starts: 1, Size: 3}, schedule.Dispatch: {Starts: 1, Size: 2}, schedule.Expert: {Starts: 1, Size: 4}, schedule.Combine: {Starts: 1, Size: 2}, schedule.GradReduce: {Starts: 1, Size: 100}}
	costs := unitCosts()
	costs[schedule.GradReduce] = schedule.Linear{Alpha: 1, Beta: 0.1}
	layers := []Layer{l, l}
	plan := Choose(layers, costs, []int{1}, Options{})
	// Backward the experts take 8 and the dense part 6, of which a start costs 1: 70 and 50 units
	// fit, and 100 exist.
	require.Equal(t, [][]float64{{70}, nil}, plan.Within)
	require.InDelta(t, 30, plan.Beside[0][0], 1e-9)
	require.Nil(t, plan.Beside[1])
	idle := Plan{}
	require.InDelta(t, stepTime(layers, costs, &idle)-10, stepTime(layers, costs, &plan), 1e-9, "half of the gradients are hidden")
	line := schedule.Simulate(BuildBackward(layers, &plan), costs)
	require.InDelta(t, 2*(2+8+2+6)+1+10, line.Makespan(), 1e-9)
}

// TestChooseSavesTheTailsStart: what a gap cannot hold for nothing costs less there than a start of
// its own at the end.
func TestChooseSavesTheTailsStart(t *testing.T) {
	l := Layer{schedule.Dispatch: {Starts: 1, Size: 2}, schedule.Expert: {Starts: 1, Size: 4}, schedule.Combine: {Starts: 1, Size: 2}}
	costs := unitCosts()
	costs[schedule.GradReduce] = schedule.Linear{Alpha: 5, Beta: 1}
	f := newFilling([]Layer{l}, costs, Plan{Carried: 10})
	require.InDelta(t, 2+5+10+2, f.fill(exactly), 1e-9)
	require.Equal(t, [][]float64{{10}}, f.plan.Within)
	require.Zero(t, f.plan.left([]Layer{l}))
}

// TestFillsPromiseIsThePlansTime: the makespan by which degrees are chosen is that of the graph of
// the plan that comes out.
func TestFillsPromiseIsThePlansTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers, costs := drawLayers(t, 4), drawCosts(t)
		for i := range layers {
			layers[i][schedule.GradReduce].Starts = 1
		}
		plan := Plan{Options: drawOptions(t), Carried: float64(rapid.IntRange(0, 9).Draw(t, "carried")), BackwardDegrees: []int{rapid.IntRange(1, 4).Draw(t, "r")}}
		f := newFilling(layers, costs, plan)
		promised := f.fill(exactly)
		require.NoError(t, f.plan.Validate(layers))
		line := schedule.Simulate(BuildBackward(layers, &f.plan), costs)
		if plan.Batches > 1 { // where an empty gap may hold up a micro-batch
			require.LessOrEqual(t, line.Makespan(), promised*(1+1e-9))
			return
		}
		require.InDelta(t, promised, line.Makespan(), 1e-9*max(1, promised))
		line = schedule.Simulate(BuildBackward(layers, &plan), costs)
		require.LessOrEqual(t, promised, line.Makespan()*(1+1e-9), "all gradients at the end")
	})
}

func TestLinaOverruns(t *testing.T) {
	const n = 2.5 * linaChunk
	l := Layer{schedule.Dense: {Starts: 1, Size: 1}, schedule.Dispatch: {Starts: 1, Size: 1}, schedule.Expert: {Starts: 1, Size: 3}, schedule.Combine: {Starts: 1, Size: 1}, schedule.GradReduce: {Starts: 1, Size: n}}
	costs := unitCosts()
	costs[schedule.GradReduce] = schedule.Linear{Beta: 4 / linaChunk}
	plan := planLina([]Layer{l, l}, costs, []int{1}, Options{})
	require.Equal(t, [][]float64{{linaChunk, linaChunk}, nil}, plan.Within, "a gap of 6 s, where each chunk takes 4 s")
	require.Empty(t, plan.Beside[0], "half a chunk waits for more")
}

// TestLinaBeginsWhileTheLinkIsIdle: as many chunks as begin within a gap, however many wait.
func TestLinaBeginsWhileTheLinkIsIdle(t *testing.T) {
	l := Layer{schedule.Dense: {Starts: 1, Size: 1}, schedule.Dispatch: {Starts: 1, Size: 1}, schedule.Expert: {Starts: 1, Size: 3}, schedule.Combine: {Starts: 1, Size: 1}, schedule.GradReduce: {Starts: 1, Size: 5.5 * linaChunk}}
	costs := unitCosts()
	costs[schedule.GradReduce] = schedule.Linear{Beta: 4 / linaChunk}
	plan := planLina([]Layer{l, l}, costs, []int{1}, Options{})
	require.Equal(t, [][]float64{{linaChunk, linaChunk}, nil}, plan.Within, "a gap of 6 s, where each chunk takes 4 s")
	require.Equal(t, [][]float64{{linaChunk}, nil}, plan.Beside, "a gap of 2 s")
}

// TestNothingIsSentTwice: what the gaps hold for nothing leaves no piece for another gap or the
// end.
func TestNothingIsSentTwice(t *testing.T) {
	l := Layer{schedule.Dense: {Starts: 1, Size: 3}, schedule.Dispatch: {Starts: 1, Size: 2}, schedule.Expert: {Starts: 1, Size: 4}, schedule.Combine: {Starts: 1, Size: 2}}
	last := l
	last[schedule.GradReduce] = schedule.Work{Starts: 1, Size: 20}
	costs := unitCosts()
	costs[schedule.GradReduce] = schedule.Linear{Alpha: 1, Beta: 0.1}
	plan := Choose([]Layer{l, last}, costs, []int{1}, Options{})
	require.Equal(t, [][]float64{{20}, nil}, plan.Within)
	require.Equal(t, [][]float64{nil, nil}, plan.Beside)
}

// TestLeastOfEqualAndShortTimes: of equal times the first wins, and microseconds are told apart as
// seconds are.
func TestLeastOfEqualAndShortTimes(t *testing.T) {
	require.Zero(t, Least([]float64{0, 0}))
	require.Zero(t, Least([]float64{3, 3, 4}))
	require.Equal(t, 1, Least([]float64{2e-7, 1e-7}))
	require.Equal(t, 1, Least([]float64{2e7, 1e7}))
	require.Zero(t, Least([]float64{1e7, 1e7 - 1e-6}), "rounding")
}

// TestRoundingOfLargeGradientsIsForgiven: what pieces differ by from the whole is taken for
// rounding in proportion to it.
func TestRoundingOfLargeGradientsIsForgiven(t *testing.T) {
	const size = 1e6
	for rest, left := range map[float64]float64{1e-5: 0, -1e-5: 0, 1: 1} {
		p := Plan{Carried: size, Tail: []float64{size - rest}}
		require.NoError(t, p.Validate(nil))
		require.Equal(t, left, p.left(nil), "%v", rest)
	}
	require.Error(t, (&Plan{Carried: size, Tail: []float64{size + 1}}).Validate(nil))
}

func TestFitting(t *testing.T) {
	l := schedule.Linear{Alpha: 2, Beta: 0.5}
	require.Equal(t, 4.0, fitting(l, 4))
	require.Zero(t, fitting(l, 2), "no time beyond the start")
	require.Zero(t, fitting(schedule.Linear{}, 9))
}

func BenchmarkChoose(b *testing.B) {
	layers := make([]Layer, 24)
	for i := range layers {
		layers[i] = exchangeOnly()
	}
	costs := unitCosts()
	for b.Loop() {
		Choose(layers, costs, nil, Options{})
	}
}
