package sim

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/simulate"
)

// Brute force tries stacks of three layers: the gradients of the last go into the gaps of the two
// before it, those of the middle one into the gaps of the first, in quarters of a layer's
// gradients.
const (
	bruteLayers = 3
	bruteParts  = 4
)

// worstOfSample returns the largest ratio of ours over brute force among n configurations drawn
// from a grid, and where it is.
func worstOfSample(ctx context.Context, bed *testbed, degrees []int, n int) (worst float64, where gridConfig) {
	grid, costs := bed.grid(), bed.costs()
	random := rand.New(rand.NewPCG(200, 4))
	random.Shuffle(len(grid), func(i, j int) { grid[i], grid[j] = grid[j], grid[i] })
	for _, c := range grid[:min(n, len(grid))] {
		if ctx.Err() != nil {
			break
		}
		layers := bed.stack(c, bruteLayers)
		plan := simulate.Choose(layers, costs, degrees, simulate.Options{})
		if ratio := stepMS(layers, costs, &plan) / bruteForce(layers, costs, degrees); ratio > worst {
			worst, where = ratio, c
		}
	}
	return worst, where
}

// bruteForce returns the least step time of equal layers over all degrees of each layer and pass
// and all cuts of the gradients. Equal layers have one best degree in forward.
func bruteForce(layers []simulate.Layer, costs *schedule.Costs, degrees []int) float64 {
	forward := simulate.Makespans(layers, costs, schedule.Forward, degrees, simulate.Options{})
	best := math.Inf(1)
	chosen := make([]int, len(layers))
	var choose func(layer int)
	choose = func(layer int) {
		if layer < len(layers) {
			for _, d := range degrees {
				chosen[layer] = d
				choose(layer + 1)
			}
			return
		}
		best = min(best, bruteCuts(layers, costs, chosen))
	}
	choose(0)
	return forward[simulate.Least(forward)] + best
}

// bruteCuts returns the least time of the backward pass with these degrees over all cuts of the
// gradients.
func bruteCuts(layers []simulate.Layer, costs *schedule.Costs, degrees []int) float64 {
	plan := simulate.Plan{BackwardDegrees: degrees, Within: [][]float64{{0}, {0}}, Beside: [][]float64{{0}, {0}}}
	g := simulate.BuildBackward(layers, &plan)
	// within and beside the middle layer, within and beside the first, the tail
	var sums []*schedule.Task
	for i := range g.Tasks {
		if g.Tasks[i].Op == schedule.GradReduce {
			sums = append(sums, &g.Tasks[i])
		}
	}
	part := layers[0][schedule.GradReduce].Size / bruteParts
	put := func(t *schedule.Task, parts int) {
		t.Work = schedule.Work{Starts: min(1, float64(parts)), Size: float64(parts) * part}
	}
	best := math.Inf(1)
	var cut func(gap, waiting int)
	cut = func(gap, waiting int) {
		if gap == 2 {
			waiting += bruteParts // the middle layer's own
		}
		if gap == 4 {
			put(sums[4], waiting+bruteParts) // with the first layer's
			line := schedule.Simulate(g, costs)
			best = min(best, line.Makespan())
			return
		}
		for parts := 0; parts <= waiting; parts++ {
			put(sums[gap], parts)
			cut(gap+1, waiting-parts)
		}
	}
	cut(0, bruteParts)
	return best
}
