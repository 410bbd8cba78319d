package schedule

import (
	"fmt"
	"slices"
)

// GroupRanks divides ranks into groups of equal size such that slow links lie between groups, not
// within them, as Holmes does for clusters with several kinds of networks: the ranks that exchange
// most (an expert-parallel group) should use the fastest links. cost[a][b] is how slow the link
// between a and b is; it is taken as symmetric.
//
// It makes the slowest link within any group as fast as it can find, and then the sum of all links
// within groups as small. Each group starts with the first rank that is left and takes the nearest
// ranks; then ranks are swapped between groups while that helps, which takes about ranks² · size a
// round. Groups and their ranks are in ascending order; concatenated they are an order of ranks in
// which the ranks of a group are neighbours. It panics if the groups would not be equal.
func GroupRanks(cost [][]float64, size int) [][]int {
	n := len(cost)
	if size < 1 || n%size != 0 {
		panic(fmt.Sprintf("schedule: %d ranks in groups of %d; the size must divide their number", n, size))
	}
	var best [][]int
	for first := range min(n, 2*size) { // who begins decides who is left over, so several begin
		groups := nearest(cost, size, first)
		for swapOne(cost, groups) {
		}
		if best == nil || spreadOf(cost, groups).less(spreadOf(cost, best)) {
			best = groups
		}
	}
	for _, g := range best {
		slices.Sort(g)
	}
	slices.SortFunc(best, func(a, b []int) int { return a[0] - b[0] })
	return best
}

// linkSpread is what GroupRanks minimises: the slowest link within groups, then the sum of all.
type linkSpread struct{ worst, sum float64 }

func (a linkSpread) less(b linkSpread) bool {
	const rounding = 1 - 1e-12
	return a.worst < b.worst || a.worst == b.worst && a.sum < b.sum*rounding
}

// spreadOf returns the links within groups.
func spreadOf(cost [][]float64, groups [][]int) (s linkSpread) {
	for _, g := range groups {
		for i, a := range g {
			for _, b := range g[:i] {
				s.worst, s.sum = max(s.worst, cost[a][b]), s.sum+cost[a][b]
			}
		}
	}
	return s
}

// nearest builds groups one by one, the first around a given rank.
func nearest(cost [][]float64, size, first int) [][]int {
	taken := make([]bool, len(cost))
	var groups [][]int
	for k := range cost {
		seed := (first + k) % len(cost)
		if taken[seed] {
			continue
		}
		taken[seed] = true
		g := []int{seed}
		for len(g) < size {
			next := nearestTo(cost, g, taken)
			taken[next] = true
			g = append(g, next)
		}
		groups = append(groups, g)
	}
	return groups
}

// nearestTo returns the rank that is left whose links to a group are the fastest.
func nearestTo(cost [][]float64, group []int, taken []bool) int {
	best := -1
	var least linkSpread
	for r := range cost {
		if taken[r] {
			continue
		}
		var s linkSpread
		for _, m := range group {
			s.worst, s.sum = max(s.worst, cost[r][m]), s.sum+cost[r][m]
		}
		if best < 0 || s.less(least) {
			best, least = r, s
		}
	}
	return best
}

// twoGroups is what decides whether to swap ranks of two groups. Because the better group is
// compared too, before the sum, each swap makes the sorted slowest links of all groups smaller, or
// leaves them and makes the sum smaller; so swapping ends.
type twoGroups struct{ worst, other, sum float64 }

func twoOf(cost [][]float64, a, b []int) twoGroups {
	x, y := spreadOf(cost, [][]int{a}), spreadOf(cost, [][]int{b})
	return twoGroups{max(x.worst, y.worst), min(x.worst, y.worst), x.sum + y.sum}
}

func (a twoGroups) less(b twoGroups) bool {
	if a.worst != b.worst {
		return a.worst < b.worst
	}
	return linkSpread{a.other, a.sum}.less(linkSpread{b.other, b.sum})
}

// swapOne swaps two ranks of different groups if that makes the links of these two groups better,
// and says whether it did.
func swapOne(cost [][]float64, groups [][]int) bool {
	for i := range groups {
		for j := range groups[:i] {
			now := twoOf(cost, groups[i], groups[j])
			for x := range groups[i] {
				for y := range groups[j] {
					groups[i][x], groups[j][y] = groups[j][y], groups[i][x]
					if twoOf(cost, groups[i], groups[j]).less(now) {
						return true
					}
					groups[i][x], groups[j][y] = groups[j][y], groups[i][x]
				}
			}
		}
	}
	return false
}
