package schedule

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// bestPlacement tries every placement of experts.
func bestPlacement(load []float64, hosts []Host) float64 {
	best := math.Inf(1)
	on, count := make([]int, len(load)), make([]int, len(hosts))
	var try func(e int)
	try = func(e int) {
		if e == len(load) {
			best = min(best, Busiest(load, hosts, on))
			return
		}
		for h := range hosts {
			if hosts[h].Slots > 0 && count[h] == hosts[h].Slots {
				continue
			}
			on[e] = h
			count[h]++
			try(e + 1)
			count[h]--
		}
	}
	try(0)
	return best
}

// TestPlaceExpertsIsNearTheBest of all placements, on average within 2 % and never 25 % worse.
func TestPlaceExpertsIsNearTheBest(t *testing.T) {
	random := seeded(4)
	const draws = 300
	sum, worst := 0.0, 0.0
	for range draws {
		load, hosts := make([]float64, 1+random.IntN(7)), make([]Host, 1+random.IntN(3))
		for e := range load {
			load[e] = math.Exp(random.NormFloat64())
		}
		for h := range hosts {
			hosts[h] = Host{PerRow: 0.5 + 1.5*random.Float64(), Slots: (len(load)+len(hosts)-1)/len(hosts) + random.IntN(2)}
		}
		on := PlaceExperts(load, hosts)
		for h := range hosts {
			n := 0
			for _, at := range on {
				if at == h {
					n++
				}
			}
			require.LessOrEqual(t, n, hosts[h].Slots)
		}
		ratio := Busiest(load, hosts, on) / bestPlacement(load, hosts)
		require.GreaterOrEqual(t, ratio, 1-1e-12)
		sum, worst = sum+ratio, max(worst, ratio)
	}
	require.Less(t, sum/draws, 1.02)
	require.Less(t, worst, 1.25)
}

func TestPlaceExpertsOnUnequalHosts(t *testing.T) {
	// A host twice as fast gets twice the rows; one behind a slow link, few.
	load := []float64{1, 1, 1, 1, 1, 1, 1}
	on := PlaceExperts(load, []Host{{PerRow: 1}, {PerRow: 0.5}, {PerRow: 2}})
	count := make([]int, 3)
	for _, h := range on {
		count[h]++
	}
	require.Equal(t, []int{2, 4, 1}, count)
	pair := []Host{{PerRow: 1}, {PerRow: 1}}
	// Largest first ends with 3+2+2 and 3+2; a swap mends it.
	require.Equal(t, 6.0, Busiest([]float64{3, 3, 2, 2, 2}, pair, PlaceExperts([]float64{3, 3, 2, 2, 2}, pair)))
	require.PanicsWithValue(t, "schedule: 3 experts do not fit into the slots of 2 hosts", func() {
		PlaceExperts([]float64{1, 1, 1}, []Host{{PerRow: 1, Slots: 1}, {PerRow: 1, Slots: 1}})
	})
	require.Empty(t, PlaceExperts(nil, nil))
}

// TestPlaceExpertsMovesAfterSwaps: here a swap makes another host the busiest, and the best that
// there is needs an expert moved off that, to a host whose slots the swap left as they were.
func TestPlaceExpertsMovesAfterSwaps(t *testing.T) {
	for _, c := range []struct {
		load  []float64
		hosts []Host
		best  float64
	}{
		{[]float64{1, 6, 8, 6}, []Host{{PerRow: 2}, {PerRow: 3, Slots: 3}}, 26},
		{[]float64{4, 9, 9, 1, 1}, []Host{{PerRow: 2, Slots: 4}, {PerRow: 1, Slots: 3}}, 18},
		{[]float64{1, 1, 3, 5, 5}, []Host{{PerRow: 2, Slots: 3}, {PerRow: 1, Slots: 3}}, 10},
	} {
		require.Equal(t, c.best, bestPlacement(c.load, c.hosts))
		require.Equal(t, c.best, Busiest(c.load, c.hosts, PlaceExperts(c.load, c.hosts)), "%v", c)
	}
}

// TestPlaceExpertsLeavesEqualTimes alone: a swap that only exchanges which host is the busiest is
// none, or swapping would not end.
func TestPlaceExpertsLeavesEqualTimes(t *testing.T) {
	require.Equal(t, []int{0, 1}, PlaceExperts([]float64{3, 2}, []Host{{PerRow: 1}, {PerRow: 1}}))
}

// bestGroups tries every division into groups.
func bestGroups(cost [][]float64, size int) linkSpread {
	best := linkSpread{math.Inf(1), math.Inf(1)}
	groups := make([][]int, len(cost)/size)
	var try func(r int)
	try = func(r int) {
		if r == len(cost) {
			if s := spreadOf(cost, groups); s.less(best) {
				best = s
			}
			return
		}
		for g := range groups {
			if len(groups[g]) < size {
				groups[g] = append(groups[g], r)
				try(r + 1)
				groups[g] = groups[g][:len(groups[g])-1]
				if len(groups[g]) == 0 {
					break // empty groups are all alike
				}
			}
		}
	}
	try(0)
	return best
}

// TestGroupRanksKeepsClassesTogether: with classes of links, whose machines are numbered in any
// order, groups stay within a class as Holmes asks, and brute force finds nothing better.
func TestGroupRanksKeepsClassesTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 4).Draw(t, "size")
		classes := rapid.IntRange(1, 8/size).Draw(t, "classes")
		class := make([]int, size*classes)
		for r := range class {
			class[r] = r / size
		}
		class = rapid.Permutation(class).Draw(t, "order")
		cost := make([][]float64, len(class))
		for a := range cost {
			cost[a] = make([]float64, len(class))
			for b := range cost[a] {
				cost[a][b] = 10
				if class[a] == class[b] {
					cost[a][b] = float64(1 + class[a]) // InfiniBand, RoCE, …
				}
			}
		}
		groups := GroupRanks(cost, size)
		require.Equal(t, bestGroups(cost, size), spreadOf(cost, groups))
		for _, g := range groups {
			for _, r := range g {
				require.Equal(t, class[g[0]], class[r])
			}
		}
	})
}

// randomCosts returns symmetric costs of links between ranks.
func randomCosts(n int, cost func() float64) [][]float64 {
	costs := make([][]float64, n)
	for a := range costs {
		costs[a] = make([]float64, n)
		for b := range a {
			costs[a][b] = cost()
			costs[b][a] = costs[a][b]
		}
	}
	return costs
}

// TestGroupRanksIsNearTheBest where links have no structure at all.
func TestGroupRanksIsNearTheBest(t *testing.T) {
	random := seeded(5)
	const draws = 150
	found, sum := 0, 0.0
	for range draws {
		size := 2 + random.IntN(3)
		cost := randomCosts(size*(1+random.IntN(8/size)), random.Float64)
		groups := GroupRanks(cost, size)
		requireInOrder(t, groups, len(cost))
		best, got := bestGroups(cost, size), spreadOf(cost, groups)
		require.False(t, got.less(best))
		if got.worst == best.worst {
			found++
		}
		sum += got.worst / best.worst
	}
	require.Greater(t, found, draws*95/100, "the fastest possible slowest link")
	require.Less(t, sum/draws, 1.01)
	require.Panics(t, func() { GroupRanks(make([][]float64, 3), 2) })
	require.Empty(t, GroupRanks(nil, 2))
}

// requireInOrder requires that groups hold each of n ranks once, and are in ascending order, as
// are the ranks of each.
func requireInOrder(t *testing.T, groups [][]int, n int) {
	t.Helper()
	all := slices.Sorted(slices.Values(slices.Concat(groups...)))
	for r := range n {
		require.Equal(t, r, all[r])
	}
	for _, g := range groups {
		require.True(t, slices.IsSorted(g), "%v", g)
	}
	require.True(t, slices.IsSortedFunc(groups, slices.Compare[[]int]), "%v", groups)
}

// TestGroupRanksMakesTheSumSmall where many divisions have the same slowest link.
func TestGroupRanksMakesTheSumSmall(t *testing.T) {
	random := seeded(6)
	const draws = 150
	equal, sum := 0, 0.0
	for range draws {
		size := 2 + random.IntN(3)
		cost := randomCosts(size*(1+random.IntN(8/size)), func() float64 { return float64(1 + random.IntN(3)) })
		best, got := bestGroups(cost, size), spreadOf(cost, GroupRanks(cost, size))
		if got.worst == best.worst {
			equal++
			sum += got.sum / best.sum
		}
	}
	require.Greater(t, equal, draws*95/100)
	require.Less(t, sum/float64(equal), 1.01)
}
