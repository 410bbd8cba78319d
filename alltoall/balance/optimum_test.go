package balance_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
)

// divisions are all ways to divide the leaves of an expert among ranks, that of no runs included.
func divisions(expert, ranks, leaves int) (all []alltoall.Allocation) {
	all = append(all, nil)
	var extend func(a alltoall.Allocation, first int)
	extend = func(a alltoall.Allocation, first int) {
		if first == leaves {
			all = append(all, slices.Clone(a))
			return
		}
		for r := range ranks {
			if slices.ContainsFunc(a, func(o alltoall.Run) bool { return o.Rank == r }) {
				continue
			}
			for end := first + 1; end <= leaves; end++ {
				extend(append(a, alltoall.Run{Expert: expert, Rank: r, First: first, End: end}), end)
			}
		}
	}
	extend(nil, 0)
	return all
}

// optimum is the earliest finish of all allocations within the limits, found by trying all.
func optimum(p *balance.Problem) int64 {
	l := p.Loads
	experts := l.Placement.Experts()
	best := balance.Finish(p, nil)
	var q balance.Prediction
	var extend func(a alltoall.Allocation, e int)
	extend = func(a alltoall.Allocation, e int) {
		if e == experts {
			if a.Validate(l, p.Limits) == nil {
				q.Fill(p, a)
				best = min(best, q.Finish())
			}
			return
		}
		for _, d := range divisions(e, l.Placement.Ranks(), l.TotalLeaves()) {
			extend(append(a, d...), e+1)
		}
	}
	extend(make(alltoall.Allocation, 0, 64), 0)
	return best
}

// tiny draws a problem of which all allocations can be tried.
func tiny(r *rand.Rand) *balance.Problem {
	shapes := []struct{ hosted, leaves []int }{
		{[]int{1, 1}, []int{3, 3}}, {[]int{2, 1}, []int{2, 2}}, {[]int{1, 1, 1}, []int{1, 1, 1}},
		{[]int{1, 0, 1}, []int{2, 1, 1}}, {[]int{2, 0, 0}, []int{1, 1, 2}}, {[]int{1, 0, 0}, []int{3, 2, 2}},
	}
	s := shapes[r.IntN(len(shapes))]
	p := &balance.Problem{
		Loads:  &alltoall.Loads{Placement: alltoall.Hosted(s.hosted), Leaves: s.leaves},
		Limits: alltoall.Limits{Slots: 1 + r.IntN(2)},
		Costs:  balance.Costs{RowBytes: r.Int64N(20), Params: r.Int64N(2000), Gradient: r.Int64N(500) * r.Int64N(2), Within: r.Int64N(3), Between: r.Int64N(3)},
	}
	for range s.hosted {
		p.Costs.Row = append(p.Costs.Row, 50+r.Int64N(100))
	}
	for range p.Loads.Placement.Experts() {
		most := 1 + r.IntN(200)
		for range p.Loads.TotalLeaves() {
			p.Loads.Rows = append(p.Loads.Rows, int32(most/2+r.IntN(most)))
		}
	}
	return p
}

// TestMakespanIsNearTheOptimum of tiny problems, in the mean and at worst.
func TestMakespanIsNearTheOptimum(t *testing.T) {
	cases := 400
	if testing.Short() {
		cases = 60
	}
	r := rand.New(rand.NewPCG(5, 7))
	planner := &balance.Makespan{}
	sum, worst, plain := 0.0, 0.0, 0.0
	for range cases {
		p := tiny(r)
		least, got := optimum(p), balance.Finish(p, planner.Plan(p))
		require.GreaterOrEqual(t, got, least, "an allocation that was not tried: %+v", p)
		require.LessOrEqual(t, got, balance.Finish(p, nil), "worse than without sharing: %+v", p)
		if least == 0 {
			continue
		}
		ratio := float64(got) / float64(least)
		sum, worst = sum+ratio, max(worst, ratio)
		plain += float64(balance.Finish(p, nil)) / float64(least)
	}
	t.Logf("of the optimum: %.3f in the mean, %.3f at worst, without sharing %.3f", sum/float64(cases), worst, plain/float64(cases))
	// Nothing is proved of the planner: these are what it is held to on these problems.
	require.Less(t, sum/float64(cases), 1.12)
	require.Less(t, worst, 2.0)
}
