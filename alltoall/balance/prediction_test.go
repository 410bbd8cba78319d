package balance_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/alltoall/balance/balancetest"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// slow is a prediction in the plainest way: leaf by leaf.
func slow(p *balance.Problem, a alltoall.Allocation) (rows, time []int64) {
	l := p.Loads
	ranks, leaves := l.Placement.Ranks(), l.TotalLeaves()
	rows, time = make([]int64, ranks), make([]int64, ranks)
	leave, arrive, moved := make([][2]int64, ranks), make([][2]int64, ranks), make([][2]int64, ranks)
	class := func(a, b int) int {
		if len(p.Node) > 0 && p.Node[a] != p.Node[b] {
			return 1
		}
		return 0
	}
	home := homes(l)
	source := sources(l)
	filled := make([]int64, ranks)
	for e, h := range home {
		for leaf := range leaves {
			at, n := h, int64(l.Rows[e*leaves+leaf])
			for _, r := range a {
				if r.Expert == e && r.First <= leaf && leaf < r.End {
					at = r.Rank
				}
			}
			rows[at] += n
			filled[at] += min(n, 1)
			if s := source[leaf]; s != at {
				leave[s][class(s, at)] += n
				arrive[at][class(s, at)] += n
			}
		}
	}
	for _, r := range a {
		if h := home[r.Expert]; h != r.Rank {
			bytes := p.Costs.Params + p.Costs.Gradient*int64(len(tree.Cover(r.First, r.End)))
			moved[h][class(h, r.Rank)] += bytes
			moved[r.Rank][class(h, r.Rank)] += bytes
		}
	}
	for r := range time {
		time[r] = p.Costs.Row[r] * (rows[r] + p.Costs.Leaf*filled[r])
		for c, cost := range []int64{p.Costs.Within, p.Costs.Between} {
			time[r] += cost * (p.Costs.RowBytes*max(leave[r][c], arrive[r][c]) + moved[r][c])
		}
	}
	return rows, time
}

// homes are the ranks of all experts.
func homes(l *alltoall.Loads) (list []int) {
	for r := range l.Placement.Ranks() {
		for range l.Placement.Count(r) {
			list = append(list, r)
		}
	}
	return list
}

// sources are the ranks of all leaves.
func sources(l *alltoall.Loads) (list []int) {
	for r, n := range l.Leaves {
		for range n {
			list = append(list, r)
		}
	}
	return list
}

// anyAllocation draws one that covers all leaves, without regard to limits.
func anyAllocation(r *rand.Rand, l *alltoall.Loads) (a alltoall.Allocation) {
	for e := range l.Placement.Experts() {
		first, order := 0, r.Perm(l.Placement.Ranks())
		for i := 0; first < l.TotalLeaves() && r.IntN(3) > 0; i++ {
			end := l.TotalLeaves()
			if i < len(order)-1 {
				end = first + 1 + r.IntN(end-first)
			}
			a = append(a, alltoall.Run{Expert: e, Rank: order[i], First: first, End: end})
			if first = end; first < l.TotalLeaves() && i == len(order)-1 {
				break
			}
		}
		if len(a) > 0 && a[len(a)-1].Expert == e {
			a[len(a)-1].End = l.TotalLeaves()
		}
	}
	return a
}

// TestPrediction compares with the plain way, on random allocations, in used memory.
func TestPrediction(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var q balance.Prediction
	for range 300 {
		p := balancetest.Random(r)
		a := anyAllocation(r, p.Loads)
		require.NoError(t, a.Validate(p.Loads, alltoall.Limits{Slots: len(a)}))
		rows, time := slow(p, a)
		q.Fill(p, a)
		require.Equal(t, rows, q.Rows)
		require.Equal(t, time, q.Time)
		home, copies := homes(p.Loads), 0
		for _, run := range a {
			if run.Rank != home[run.Expert] {
				copies++
			}
		}
		require.Equal(t, copies, q.Copies)
		require.Equal(t, q.Finish(), balance.Finish(p, a))
	}
}

// TestPredictionByHand: rank 0 has an expert with 10 rows in each of four leaves, of which rank 1
// takes its own two.
func TestPredictionByHand(t *testing.T) {
	p := &balance.Problem{
		Loads: &alltoall.Loads{Placement: alltoall.Hosted([]int{1, 0}), Leaves: []int{2, 2}, Rows: []int32{10, 10, 10, 10}},
		Costs: balance.Costs{Row: []int64{100, 200}, RowBytes: 8, Params: 1000, Gradient: 500, Within: 2, Between: 3},
	}
	var q balance.Prediction
	q.Fill(p, nil)
	require.Equal(t, []int64{40*100 + 2*8*20, 2 * 8 * 20}, q.Time)
	require.Equal(t, 2.0, balance.MaxOverMean(q.Rows))
	q.Fill(p, alltoall.Allocation{{Expert: 0, Rank: 0, First: 0, End: 2}, {Expert: 0, Rank: 1, First: 2, End: 4}})
	require.Equal(t, []int64{20*100 + 2*1500, 20*200 + 2*1500}, q.Time)
	require.Equal(t, int64(20), q.Moved)
	require.Equal(t, int64(1500), q.Bytes)
	p.Costs.Leaf, p.Loads.Rows[3] = 3, 0
	q.Fill(p, alltoall.Allocation{{Expert: 0, Rank: 0, First: 0, End: 2}, {Expert: 0, Rank: 1, First: 2, End: 4}})
	require.Equal(t, []int64{(20+2*3)*100 + 2*1500, (10+3)*200 + 2*1500}, q.Time)
	p.Costs.Leaf, p.Loads.Rows[3] = 0, 10
	p.Node = []int{0, 1}
	require.Equal(t, int64(40*100+3*8*20), balance.Finish(p, nil))
	require.Equal(t, 1.0, balance.MaxOverMean([]int64{0, 0}))
}

// TestProblemValidate names what is wrong.
func TestProblemValidate(t *testing.T) {
	sound := func() *balance.Problem { return balancetest.Hostile()[1].Problem }
	require.NoError(t, sound().Validate())
	for says, change := range map[string]func(p *balance.Problem){
		"Problem.Loads is nil":                       func(p *balance.Problem) { p.Loads = nil },
		"does not begin at expert 0":                 func(p *balance.Problem) { p.Loads.Placement.First[0] = 1 },
		"Costs.Row of 3 ranks, want 4":               func(p *balance.Problem) { p.Costs.Row = p.Costs.Row[1:] },
		"Costs.Row[2] is -1, want 0 to 109951162777": func(p *balance.Problem) { p.Costs.Row[2] = -1 },
		"Costs.Leaf is -1, want 0 to 1048576":        func(p *balance.Problem) { p.Costs.Leaf = -1 },
		"Costs.RowBytes is":                          func(p *balance.Problem) { p.Costs.RowBytes = 1<<40 + 1 },
		"Costs.Params is -5":                         func(p *balance.Problem) { p.Costs.Params = -5 },
		"Costs.Gradient is -5":                       func(p *balance.Problem) { p.Costs.Gradient = -5 },
		"Costs.Within is -5":                         func(p *balance.Problem) { p.Costs.Within = -5 },
		"Costs.Between is -5":                        func(p *balance.Problem) { p.Costs.Between = -5 },
		"Loads.Leaves of 3 ranks, want 4":            func(p *balance.Problem) { p.Loads.Leaves = p.Loads.Leaves[1:] },
		"Loads.Leaves[1] is -1":                      func(p *balance.Problem) { p.Loads.Leaves[1] = -1 },
		"Loads.Rows has 1 counts, want 0":            func(p *balance.Problem) { p.Loads.Rows = []int32{1} },
		"Loads.Rows[1] is -2":                        func(p *balance.Problem) { p.Loads.Rows = []int32{1, -2} },
		"Limits.Slots is -1":                         func(p *balance.Problem) { p.Limits.Slots = -1 },
		"Limits.Rows is -1":                          func(p *balance.Problem) { p.Limits.Rows = -1 },
		"Node of 1 ranks, want 4 or none":            func(p *balance.Problem) { p.Node = []int{0} },
	} {
		p := sound()
		change(p)
		require.ErrorContains(t, p.Validate(), says)
	}
}
