package tree

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSubtree moves the nodes of one sum into another, and expects what entering the leaves there would have given.
func TestSubtree(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 100 {
		want, got := NewSum(3), NewSum(3)
		leaf := r.IntN(5)
		for range 3 { // ranges that a holder enters one after the other
			part := NewSum(3)
			for range r.IntN(9) {
				v := []float32{r.Float32(), r.Float32(), r.Float32()}
				copy(part.Leaf(leaf), v)
				copy(want.Leaf(leaf), v)
				leaf++
			}
			for _, n := range part.Nodes() {
				copy(got.Subtree(n.Place()), n.Sum)
			}
		}
		require.Equal(t, want.Nodes(), got.Nodes())
		require.Equal(t, want.Total(), got.Total())
	}
}

func TestSubtreeOutOfOrder(t *testing.T) {
	s := NewSum(1)
	s.Leaf(4)
	require.PanicsWithValue(t, "tree: subtree from leaf 4 after leaf 4", func() { s.Subtree(Place{1, 2}) })
	s.Subtree(Place{1, 3})
	require.PanicsWithValue(t, "tree: leaf 7 after leaf 7", func() { s.Leaf(7) })
	require.PanicsWithValue(t, "tree: subtree from leaf -2", func() { NewSum(1).Subtree(Place{1, -1}) })
}
