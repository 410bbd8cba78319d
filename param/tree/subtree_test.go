package tree

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLeavesInAnyOrder have the nodes and the bits that ascending ones have.
func TestLeavesInAnyOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	got := NewSum(3)
	for range 200 {
		want := NewSum(3)
		var leaves []int
		values := map[int][]float32{}
		for i := range 20 {
			if r.IntN(4) > 0 {
				leaves = append(leaves, i)
				values[i] = []float32{r.Float32(), r.Float32(), r.Float32()}
				copy(want.Leaf(i), values[i])
			}
		}
		r.Shuffle(len(leaves), func(i, j int) { leaves[i], leaves[j] = leaves[j], leaves[i] })
		got.Reset()
		for _, i := range leaves {
			copy(got.Leaf(i), values[i])
		}
		require.Equal(t, append([]Node{}, want.Nodes()...), append([]Node{}, got.Nodes()...), "%v", leaves)
		require.Equal(t, want.Total(), got.Total())
	}
}

// TestSubtree moves the nodes of one sum into another, and expects what entering the leaves there
// would have given.
func TestSubtree(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 100 {
		want, got := NewSum(3), NewSum(3)
		leaf := r.IntN(5)
		for range 3 { // ranges that a holder enters one after the other
			one := NewSum(3)
			for range r.IntN(9) {
				v := []float32{r.Float32(), r.Float32(), r.Float32()}
				copy(one.Leaf(leaf), v)
				copy(want.Leaf(leaf), v)
				leaf++
			}
			for _, n := range one.Nodes() {
				copy(got.Subtree(n.Position()), n.Sum)
			}
		}
		require.Equal(t, want.Nodes(), got.Nodes())
		require.Equal(t, want.Total(), got.Total())
	}
}

func TestSubtreeOutOfOrder(t *testing.T) {
	s := NewSum(1)
	s.Leaf(4)
	require.PanicsWithValue(t, "tree: leaf 4 has been entered, with those from 4 to 4", func() { s.Subtree(Position{1, 2}) })
	s.Subtree(Position{1, 3})
	require.PanicsWithValue(t, "tree: leaf 7 has been entered, with those from 6 to 7", func() { s.Leaf(7) })
	require.PanicsWithValue(t, "tree: leaf -2", func() { NewSum(1).Subtree(Position{1, -1}) })
}
