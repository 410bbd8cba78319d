package simulate

import (
	"github.com/switchyard-moe/switchyard/schedule"
)

// DefaultDegrees are the numbers of chunks that are tried if a caller names none.
func DefaultDegrees() []int { return []int{1, 2, 4, 8} }

// Makespans returns, for each degree, how long one pass of a layer takes.
func Makespans(layers []Layer, costs *schedule.Costs, pass schedule.Pass, degrees []int, o Options) []float64 {
	out := make([]float64, len(degrees))
	for i, d := range degrees {
		plan := Plan{Options: o, ForwardDegrees: []int{d}, BackwardDegrees: []int{d}}
		build := BuildForward
		if pass == schedule.Backward {
			build = BuildBackward
		}
		line := schedule.Simulate(build(layers, &plan), costs)
		out[i] = line.Makespan()
	}
	return out
}

// Least returns the position of the smallest entry. An entry that is smaller by no more than
// rounding does not replace an earlier one, so that of equally good degrees the first wins.
func Least(times []float64) int {
	best := 0
	for i, t := range times {
		if better(t, times[best]) {
			best = i
		}
	}
	return best
}

// better reports whether a is smaller than b by more than rounding.
func better(a, b float64) bool { return a < b-1e-12*b }

// Choose returns the best plan that it finds for the layers on a rank with these costs: the degree
// of each layer in forward and in backward, out of degrees (nil: DefaultDegrees), and the cut of
// the gradients. It compares makespans of the graph itself, so unequal costs need no closed form.
//
// For given degrees, gradients are first put greedily into the idle time of the link (see fill);
// then degrees are refined layer by layer, with gradients cut anew each time, because a degree that
// is worse by itself may leave a larger gap.
func Choose(layers []Layer, costs *schedule.Costs, degrees []int, o Options) Plan {
	if len(degrees) == 0 {
		degrees = DefaultDegrees()
	}
	plan := Plan{Options: o}
	plan.ForwardDegrees = search(len(layers), degrees, func(d []int) float64 {
		line := schedule.Simulate(BuildForward(layers, &Plan{Options: o, ForwardDegrees: d}), costs)
		return line.Makespan()
	})
	plan.BackwardDegrees = search(len(layers), degrees, func(d []int) float64 {
		f := newFilling(layers, costs, Plan{Options: o, BackwardDegrees: d})
		return f.fill(exactly)
	})
	f := newFilling(layers, costs, plan)
	f.fill(exactly)
	return f.plan
}

// search finds degrees of n layers for which cost is small: it tries each degree for all layers,
// then improves the best of these one layer at a time until no single change helps.
func search(n int, degrees []int, cost func([]int) float64) []int {
	if n == 0 {
		return nil
	}
	current := make([]int, n)
	times := make([]float64, len(degrees))
	for i, d := range degrees {
		times[i] = cost(uniform(current, d))
	}
	best := Least(times)
	least := times[best]
	uniform(current, degrees[best])
	for improved := n > 1; improved; {
		improved = false
		for layer := range current {
			kept := current[layer]
			for _, d := range degrees {
				if d == kept {
					continue
				}
				current[layer] = d
				if t := cost(current); better(t, least) {
					least, kept, improved = t, d, true
				}
			}
			current[layer] = kept
		}
	}
	return current
}

// uniform sets all degrees to d and returns them.
func uniform(degrees []int, d int) []int {
	for i := range degrees {
		degrees[i] = d
	}
	return degrees
}
