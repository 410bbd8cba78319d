package switchyard

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// tableOf is that of a rank of two, which host two experts and one, those of rank 0 in two groups.
func tableOf(rank int, comm *collective.Comm) *parameterTable {
	set := func(experts int, first float32) *param.Set {
		s := param.NewSet(param.Tensor{Name: "w", Shape: []int{experts, 2}})
		for i := range s.Value {
			s.Value[i] = first + float32(i)
		}
		return s
	}
	gate := param.NewSet(param.Tensor{Name: "w", Shape: []int{1, 3}})
	t := &parameterTable{gate: gate, all: 3, placement: alltoall.Hosted([]int{2, 1}), rank: rank, comm: comm}
	if rank == 0 {
		t.experts = []*param.Set{set(1, 0), set(1, 2)}
	} else {
		t.experts = []*param.Set{set(1, 4)}
	}
	return t
}

// TestATableOfTwoRanks puts the experts of both together, and loads each rank's part of them.
func TestATableOfTwoRanks(t *testing.T) {
	var wg sync.WaitGroup
	lists, errs := make([][]Tensor, 2), make([]error, 2)
	for r, tr := range inproc.New(2) {
		t.Cleanup(func() { _ = tr.Close() })
		wg.Go(func() {
			table := tableOf(r, collective.New(tr))
			lists[r], errs[r] = table.whole(t.Context(), table.values())
		})
	}
	wg.Wait()
	want := []Tensor{
		{Name: "gate.w", Shape: []int{1, 3}, Data: []float32{0, 0, 0}},
		{Name: "expert.w", Shape: []int{3, 2}, Data: []float32{0, 1, 2, 3, 4, 5}},
	}
	require.Equal(t, [][]Tensor{want, want}, lists)
	require.Equal(t, []error{nil, nil}, errs)
	other := tableOf(1, nil)
	experts := Tensor{Name: "expert.w", Shape: []int{3, 2}, Data: []float32{9, 8, 7, 6, 5, 4}}
	require.NoError(t, other.load([]Tensor{experts}))
	require.Equal(t, []float32{5, 4}, other.experts[0].Value)
	first := tableOf(0, nil)
	require.ErrorContains(t, first.load([]Tensor{experts, {Name: "gate.v"}}), `no tensor "gate.v"`)
	require.Equal(t, []float32{0, 1}, first.experts[0].Value, "nothing is changed")
	experts.Shape = []int{2, 3}
	require.ErrorContains(t, first.load([]Tensor{experts}), "shape [2 3] and 6 elements, want [3 2]")
}
