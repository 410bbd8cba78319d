package balance_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/alltoall/balance/balancetest"
	"github.com/switchyard-moe/switchyard/internal/alloctest"
)

// uniform is a problem of ranks with each leaves of 16 tokens and of experts experts; rows says how
// many rows a leaf has for an expert. Computing costs most of the time.
func uniform(ranks, each, experts int, rows func(e, leaf int) int32) *balance.Problem {
	p := &balance.Problem{
		Loads:  &alltoall.Loads{Placement: alltoall.Even(experts, ranks), Leaves: slices.Repeat([]int{each}, ranks)},
		Costs:  balance.Costs{Row: slices.Repeat([]int64{1000}, ranks), RowBytes: 16, Params: 1000, Gradient: 1000, Within: 1, Between: 1},
		Limits: alltoall.Limits{Slots: 8},
	}
	for e := range experts {
		for leaf := range ranks * each {
			p.Loads.Rows = append(p.Loads.Rows, rows(e, leaf))
		}
	}
	return p
}

// zipf are the rows of experts that are popular as words are.
func zipf(rows float64) func(e, leaf int) int32 {
	return func(e, leaf int) int32 { return int32(rows/math.Pow(float64(e+1), 1.2)) + int32((leaf*7+e*3)%3) }
}

// imbalance is the largest number of rows of a rank as a multiple of the mean.
func imbalance(p *balance.Problem, a alltoall.Allocation) float64 {
	var q balance.Prediction
	q.Fill(p, a)
	return balance.MaxOverMean(q.Rows)
}

// TestBalance: under popularity as that of words every planner does what it promises.
func TestBalance(t *testing.T) {
	p := uniform(8, 8, 32, zipf(400))
	require.Greater(t, imbalance(p, nil), 3.0)
	for name, most := range map[string]float64{"spill": 1.03, "exact": 1.03, "threshold": 1.04, "makespan": 1.1} {
		require.Less(t, imbalance(p, planners()[name]().Plan(p)), most, name)
	}
}

// TestEvenLoadIsLeftAlone, but by copies of the past and one that wants the last row.
func TestEvenLoadIsLeftAlone(t *testing.T) {
	p := uniform(4, 4, 8, func(int, int) int32 { return 50 })
	for _, name := range []string{"plain", "spill", "exact", "threshold", "makespan", "gated"} {
		require.Empty(t, planners()[name]().Plan(p), name)
	}
}

// TestExactMoves: at most one home gives to a rank, in R−1 rounds.
func TestExactMoves(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	planner := &balance.Exact{}
	for range 50 {
		p := uniform(6, 64, 12, func(int, int) int32 { return int32(r.IntN(2)) })
		for i := range p.Loads.Rows {
			p.Loads.Rows[i] *= int32(r.IntN(3))
		}
		a := planner.Plan(p)
		donor := map[int]int{}
		homes := homes(p.Loads)
		for _, run := range a {
			if home := homes[run.Expert]; home != run.Rank {
				was, ok := donor[run.Rank]
				require.True(t, !ok || was == home, "%v", a)
				donor[run.Rank] = home
			}
		}
		require.Less(t, len(donor), 6)
		require.Less(t, imbalance(p, a), 1.02)
	}
}

// TestSpill: home first, then helpers, the least loaded one first; settings are kept.
func TestSpill(t *testing.T) {
	p := uniform(4, 4, 4, func(e, _ int) int32 { return []int32{100, 20, 10, 30}[e] })
	planner := &balance.Spill{MinRows: 1}
	require.Equal(t, alltoall.Allocation{{Expert: 0, Rank: 0, First: 0, End: 6}, {Expert: 0, Rank: 2, First: 6, End: 11}, {Expert: 0, Rank: 1, First: 11, End: 14}, {Expert: 0, Rank: 3, First: 14, End: 16}},
		planner.Plan(p))
	require.Empty(t, (&balance.Spill{}).Plan(p), "no piece of 1024 rows")
	require.Empty(t, (&balance.Spill{MinRows: 1, Threshold: 260}).Plan(p), "below the threshold")
	require.NotEmpty(t, (&balance.Spill{MinRows: 1, Threshold: 250}).Plan(p))
	require.InDelta(t, 1.5, imbalance(p, (&balance.Spill{MinRows: 1, Ceiling: 150}).Plan(p)), 0.1)
	require.Equal(t, "spill(ceiling 100%, threshold 0%, from 1024 rows)", (&balance.Spill{}).String())
}

// TestCopies: the first batch is left alone, then the popular experts have copies until the load
// is looked at again.
func TestCopies(t *testing.T) {
	p := uniform(4, 4, 4, func(e, _ int) int32 { return []int32{100, 1, 1, 1}[e] })
	p.Limits.Slots = 1
	planner := &balance.Copies{Every: 3}
	require.Empty(t, planner.Plan(p))
	want := alltoall.Allocation{{Expert: 0, Rank: 0, First: 0, End: 4}, {Expert: 0, Rank: 1, First: 4, End: 8}, {Expert: 0, Rank: 2, First: 8, End: 12}, {Expert: 0, Rank: 3, First: 12, End: 16}}
	require.Equal(t, want, planner.Plan(p)[:4])
	other := uniform(4, 4, 4, func(e, _ int) int32 { return []int32{1, 1, 1, 100}[e] })
	other.Limits.Slots = 1
	for range 2 {
		require.Equal(t, want, planner.Plan(other)[:4], "copies stay")
	}
	require.True(t, slices.ContainsFunc(planner.Plan(other), func(r alltoall.Run) bool { return r.Expert == 3 && r.Rank == 1 }), "now the other has some")
	require.Equal(t, "copies(every 100)", (&balance.Copies{}).String())
}

// TestMakespanByHand: one expert has all rows, and every rank takes those of its own tokens.
func TestMakespanByHand(t *testing.T) {
	p := uniform(4, 4, 4, func(e, _ int) int32 { return []int32{0, 100, 0, 0}[e] })
	require.Equal(t, alltoall.Allocation{{Expert: 1, Rank: 0, First: 0, End: 4}, {Expert: 1, Rank: 1, First: 4, End: 8}, {Expert: 1, Rank: 2, First: 8, End: 12}, {Expert: 1, Rank: 3, First: 12, End: 16}},
		(&balance.Makespan{}).Plan(p))
}

// TestMakespanGoesByRates: a rank that takes three times as long for a row gets a third as many.
func TestMakespanGoesByRates(t *testing.T) {
	p := uniform(4, 64, 4, func(e, _ int) int32 { return []int32{0, 100, 0, 0}[e] })
	p.Costs.Row = []int64{1000, 1000, 3000, 1000}
	var q balance.Prediction
	q.Fill(p, (&balance.Makespan{}).Plan(p))
	require.Less(t, balance.MaxOverMean(q.Time), 1.03)
	require.InEpsilon(t, 3, float64(q.Rows[0])/float64(q.Rows[2]), 0.1)
}

// TestMakespanCountsLeaves: a rank whose experts have few rows in many leaves takes fewer rows
// more.
func TestMakespanCountsLeaves(t *testing.T) {
	p := uniform(2, 64, 8, func(e, _ int) int32 { return []int32{0, 0, 0, 100, 1, 1, 1, 1}[e] })
	p.Costs.Leaf = 10
	var q balance.Prediction
	q.Fill(p, (&balance.Makespan{}).Plan(p))
	require.Less(t, balance.MaxOverMean(q.Time), 1.02)
	require.InDelta(t, 4608, q.Rows[0]-q.Rows[1], 300, "rank 1 has 512 leaves before, and takes 38")
}

// TestMakespanStaysOnTheNode where that has room, and leaves it where it has not.
func TestMakespanStaysOnTheNode(t *testing.T) {
	rows := []int32{200, 100, 150, 150}
	p := uniform(4, 8, 4, func(e, _ int) int32 { return rows[e] })
	p.Node = []int{0, 0, 1, 1}
	p.Costs.Between = 4
	crossing := func() (near, far int) {
		for i := range p.Loads.Rows {
			p.Loads.Rows[i] = rows[i/32]
		}
		for _, r := range (&balance.Makespan{}).Plan(p) {
			switch home := homes(p.Loads)[r.Expert]; {
			case home == r.Rank:
			case home/2 == r.Rank/2:
				near++
			default:
				far++
			}
		}
		return near, far
	}
	near, far := crossing()
	require.Positive(t, near)
	require.Zero(t, far)
	rows = []int32{200, 200, 1, 1}
	near, far = crossing()
	require.Zero(t, near)
	require.Positive(t, far)
}

// TestMakespanIsNeverLater than without sharing.
func TestMakespanIsNeverLater(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	planner, shared := &balance.Makespan{}, 0
	for range 500 {
		p := balancetest.Random(r)
		if a := planner.Plan(p); len(a) > 0 {
			shared++
			require.Less(t, balance.Finish(p, a), balance.Finish(p, nil))
		}
	}
	require.Greater(t, shared, 50)
}

// TestLargestSize: 256 experts on 64 ranks, with as many rows as ranks have at the same limits.
func TestLargestSize(t *testing.T) {
	p := uniform(64, 4, 256, zipf(300))
	p.Limits.Slots = 2
	plain := balance.Finish(p, nil)
	require.Less(t, float64(balance.Finish(p, (&balance.Makespan{}).Plan(p))), 0.35*float64(plain))
}

// TestAllocations: none where nothing is shared, else one, what is returned.
func TestAllocations(t *testing.T) {
	even := uniform(8, 4, 32, func(int, int) int32 { return 50 })
	skewed := uniform(8, 4, 32, zipf(300))
	for name, build := range planners() {
		planner := build()
		for range 3 {
			planner.Plan(skewed)
		}
		require.LessOrEqual(t, alloctest.Least(10, func() { planner.Plan(skewed) }), 1.0, name)
		if name != "copies" {
			require.Zero(t, alloctest.Least(10, func() { planner.Plan(even) }), name)
		}
	}
}

// BenchmarkPlan plans 256 experts on 64 ranks under a Zipf load, with 1 or 4 leaves a rank.
func BenchmarkPlan(b *testing.B) {
	for _, leaves := range []int{1, 4} {
		p := uniform(64, leaves, 256, zipf(1200/float64(leaves)))
		p.Limits.Slots = 2
		for _, name := range []string{"spill", "exact", "threshold", "copies", "makespan", "gated"} {
			b.Run(fmt.Sprint(name, "/leaves=", leaves), func(b *testing.B) {
				b.ReportAllocs()
				planner := planners()[name]()
				for b.Loop() {
					planner.Plan(p)
				}
			})
		}
	}
}
