package alltoall_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// threeRanks are loads of three ranks of two leaves, one and none, which host two experts, none and
// one. An expert has its number and one more rows in each leaf.
func threeRanks() *alltoall.Loads {
	l := &alltoall.Loads{Placement: alltoall.Hosted([]int{2, 0, 1}), Leaves: []int{2, 1, 0}, RowTime: []int64{0, 0, 0}}
	for e := range 3 {
		for range 3 {
			l.Rows = append(l.Rows, int32(e+1))
		}
	}
	return l
}

func TestLoads(t *testing.T) {
	l := threeRanks()
	require.Equal(t, 3, l.TotalLeaves())
	require.EqualValues(t, 4, l.Of(1, 1, 3))
	require.Zero(t, l.Of(2, 3, 3))
	l.Rows[0], l.Rows[1] = math.MaxInt32, math.MaxInt32
	require.Equal(t, int64(2*math.MaxInt32+1), l.Of(0, 0, 3))
	var homes []int
	for e := range 3 {
		homes = append(homes, l.Placement.Home(e))
	}
	require.Equal(t, []int{0, 0, 2}, homes)
}

// TestAllocationFaults: an error gives the run and the limit.
func TestAllocationFaults(t *testing.T) {
	most := alltoall.Limits{Slots: 1, Rows: 8}
	for says, a := range map[string]alltoall.Allocation{
		"run 0 is {Expert:3 Rank:0 First:0 End:3}, of 3 experts and 3 ranks": {{3, 0, 0, 3}},
		"run 0 is {Expert:-1 Rank:0 First:0 End:3}":                          {{-1, 0, 0, 3}},
		"run 0 is {Expert:0 Rank:3 First:0 End:3}":                           {{0, 3, 0, 3}},
		"run 0 is {Expert:0 Rank:-1 First:0 End:3}":                          {{0, -1, 0, 3}},
		"run 0 is of leaves [1, 3) of expert 0, want some from 0 on, of 3":   {{0, 1, 1, 3}},
		"run 1 is of leaves [2, 3) of expert 0, want some from 1 on, of 3":   {{0, 0, 0, 1}, {0, 1, 2, 3}},
		"run 1 is of leaves [0, 3) of expert 0, want some from 1 on, of 3":   {{0, 0, 0, 1}, {0, 1, 0, 3}},
		"run 1 is of leaves [1, 4) of expert 0, want some from 1 on, of 3":   {{0, 0, 0, 1}, {0, 1, 1, 4}},
		"run 1 is of leaves [1, 1) of expert 0, want some from 1 on, of 3":   {{0, 0, 0, 1}, {0, 1, 1, 1}, {0, 2, 1, 3}},
		"runs of expert 0 end at leaf 2 of 3":                                {{0, 0, 0, 1}, {0, 1, 1, 2}},
		"runs of expert 1 end at leaf 1 of 3":                                {{1, 0, 0, 1}, {2, 1, 0, 3}},
		"run 1 is of expert 0, after one of expert 1":                        {{1, 1, 0, 3}, {0, 1, 0, 3}},
		"run 2 is the second of expert 0 on rank 1, want one":                {{0, 1, 0, 1}, {0, 0, 1, 2}, {0, 1, 2, 3}},
		"run 2 is of leaves [3, 3) of expert 0":                              {{0, 0, 0, 1}, {0, 1, 1, 3}, {0, 2, 3, 3}},
		"rank 1 computes 2 runs of experts of other ranks, limit 1":          {{0, 1, 0, 3}, {1, 1, 0, 3}},
		"rank 1 computes 9 rows, limit 8":                                    {{2, 1, 0, 3}},
		"rank 0 computes 12 rows, limit 8":                                   {{2, 2, 0, 2}, {2, 0, 2, 3}},
	} {
		require.ErrorContains(t, a.Validate(threeRanks(), most), says, "%v", a)
	}
	for _, a := range []alltoall.Allocation{
		nil, {}, {{0, 1, 0, 3}}, {{0, 0, 0, 3}}, {{1, 2, 0, 1}, {1, 0, 1, 2}, {1, 1, 2, 3}}, {{0, 2, 0, 3}, {2, 2, 0, 1}, {2, 1, 1, 3}},
		{{1, 1, 0, 1}, {1, 0, 1, 3}}, // rank 0 has more than 11 rows, all of experts that it hosts
	} {
		l := threeRanks()
		if len(a) > 0 && a[0].Expert == 1 {
			l.Rows[0] = 100
		}
		require.NoError(t, a.Validate(l, alltoall.Limits{Slots: 1, Rows: 11}), "%v", a)
	}
	require.NoError(t, alltoall.Allocation{{2, 1, 0, 3}}.Validate(threeRanks(), alltoall.Limits{Slots: 1}), "0 rows are no bound")
	require.ErrorContains(t, alltoall.Allocation{{2, 1, 0, 3}}.Validate(threeRanks(), alltoall.Limits{}), "limit 0")
	none := &alltoall.Loads{Placement: alltoall.Even(2, 2), Leaves: []int{0, 0}}
	require.ErrorContains(t, alltoall.Allocation{{0, 1, 0, 0}}.Validate(none, most), "of 0")
}

// TestDigestsOfDifferentAllocationsDiffer, in each number of each run and in the number of runs.
func TestDigestsOfDifferentAllocationsDiffer(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[uint64]bool{alltoall.Allocation(nil).Digest(): true, alltoall.Allocation{{}}.Digest(): true}
	require.Len(t, seen, 2)
	for range 200 {
		a := make(alltoall.Allocation, 1+r.IntN(5))
		for i := range a {
			a[i] = alltoall.Run{Expert: i, Rank: r.IntN(64), First: r.IntN(512), End: 1 + r.IntN(1<<20)}
		}
		d := a.Digest()
		require.Equal(t, d, a.Digest())
		require.NotZero(t, d)
		i := r.IntN(len(a))
		for _, n := range []*int{&a[i].Expert, &a[i].Rank, &a[i].First, &a[i].End} {
			*n ^= 1 << r.IntN(20)
			require.NotEqual(t, d, a.Digest())
			d = a.Digest()
			require.False(t, seen[d])
			seen[d] = true
		}
		require.NotEqual(t, d, a[:len(a)-1].Digest())
	}
}
