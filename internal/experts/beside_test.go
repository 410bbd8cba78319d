package experts

import (
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
)

// TestBesideCallsEachPieceOnce, and those of a group in their order, on any number of goroutines.
func TestBesideCallsEachPieceOnce(t *testing.T) {
	var groups [3]group
	for i := range groups {
		g, err := newGroup(expert.SwiGLU{Hidden: 1}, expert.Shape{Dim: 1, Count: 1})
		require.NoError(t, err)
		groups[i] = g
	}
	var list []piece
	for number, of := range []int{0, 1, 0, 2, 1, 0} {
		list = append(list, piece{group: &groups[of], number: number})
	}
	for workers := range 5 {
		var mu sync.Mutex
		called := map[*group][]int{}
		s := Stage{workers: workers}
		s.beside(list, func(of *piece) {
			mu.Lock()
			defer mu.Unlock()
			called[of.group] = append(called[of.group], of.number)
		})
		require.Equal(t, map[*group][]int{&groups[0]: {0, 2, 5}, &groups[1]: {1, 4}, &groups[2]: {3}}, called)
	}
	s := Stage{workers: 4, enough: 1}
	var order []int
	s.beside(list, func(of *piece) { order = append(order, of.number) })
	require.True(t, slices.IsSorted(order), "too little work for several goroutines: %v", order)
}
