package balance

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/param/tree"
)

// TestNodes are as many as the gradient tree has.
func TestNodes(t *testing.T) {
	for first := range 40 {
		for end := first; end < 90; end++ {
			require.Equal(t, len(tree.Cover(first, end)), nodes(first, end), "[%d, %d)", first, end)
		}
	}
}

// TestCut is by hand: eight leaves of the rows given.
func TestCut(t *testing.T) {
	var c cutter
	cut := func(by order, slack int64, helpers ...piece) (list [][3]int) {
		for _, r := range c.cut(nil, 0, 1, helpers, by, slack) {
			list = append(list, [3]int{r.Rank, r.First, r.End})
		}
		return list
	}
	c.read([]int32{10, 10, 10, 10, 10, 10, 10, 10})
	require.Equal(t, [][3]int{{0, 0, 3}, {1, 3, 6}, {2, 6, 8}}, cut(byRank, 0, piece{0, 0, 31}, piece{0, 2, 21}))
	require.Equal(t, [][3]int{{1, 0, 3}, {2, 3, 5}, {0, 5, 8}}, cut(homeFirst, 0, piece{0, 2, 21}, piece{0, 0, 31}))
	require.Equal(t, [][3]int{{0, 0, 4}, {1, 4, 8}}, cut(byRank, 400, piece{0, 0, 31}), "a larger subtree is near")
	require.Equal(t, [][3]int{{0, 0, 2}, {1, 2, 8}}, cut(byRank, 0, piece{0, 0, 25}), "as near to two: the first")
	require.Empty(t, cut(byRank, 0, piece{0, 0, 4}), "too few rows for a leaf")
	require.Equal(t, [][3]int{{0, 0, 8}}, cut(byRank, 0, piece{0, 0, 80}), "all")
	c.read([]int32{0, 0, 5, 5, 0, 0})
	require.Equal(t, [][3]int{{0, 0, 3}, {1, 3, 6}}, cut(byRank, 0, piece{0, 0, 5}), "leaves without rows go with others")
}
