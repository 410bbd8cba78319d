package tree_test

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/param/tree"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// reference sums the leaves below a node as the definition says.
func reference(leaves [][]float32, level, index int) []float32 {
	if level == 0 {
		return slices.Clone(leaves[index])
	}
	left := reference(leaves, level-1, 2*index)
	if (2*index+1)<<(level-1) >= len(leaves) {
		return left
	}
	for i, v := range reference(leaves, level-1, 2*index+1) {
		left[i] += v
	}
	return left
}

func whole(leaves [][]float32) []float32 {
	return reference(leaves, bits.Len(uint(len(leaves)-1)), 0)
}

func bitsOf(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return b
}

func drawLeaves(t *rapid.T) [][]float32 {
	length := rapid.IntRange(0, 20).Draw(t, "length")
	leaf := rapid.SliceOfN(rapid.Float32Range(-1e6, 1e6), length, length)
	return rapid.SliceOfN(leaf, 1, 70).Draw(t, "leaves")
}

// drawSplit cuts n leaves into 1 to 8 ranges, some of them empty.
func drawSplit(t *rapid.T, n int) []int {
	cuts := rapid.SliceOfN(rapid.IntRange(0, n), 0, 7).Draw(t, "cuts")
	cuts = append(cuts, 0, n)
	slices.Sort(cuts)
	return cuts
}

func enter(s *tree.Sum, leaves [][]float32, lo, hi int) {
	for i := lo; i < hi; i++ {
		copy(s.Leaf(i), leaves[i])
	}
}

func TestEverySplitGivesTheSameBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := drawLeaves(t)
		want := bitsOf(whole(leaves))
		one := tree.NewSum(len(leaves[0]))
		enter(one, leaves, 0, len(leaves))
		require.Equal(t, want, bitsOf(one.Total()), "one holder")

		cuts := drawSplit(t, len(leaves))
		var nodes []tree.Node
		for r := 1; r < len(cuts); r++ {
			s := tree.NewSum(len(leaves[0]))
			enter(s, leaves, cuts[r-1], cuts[r])
			var positions []tree.Position
			for _, n := range s.Nodes() {
				positions = append(positions, n.Position())
			}
			require.Equal(t, tree.Cover(cuts[r-1], cuts[r]), positions)
			nodes = append(nodes, s.Nodes()...)
		}
		require.Equal(t, want, bitsOf(tree.Fold(nodes)), "cuts %v", cuts)
	})
}

// TestMergeOfHolders: holders of leaves that follow each other have as few nodes together as one
// that holds all of them, and the sum has the same bits.
func TestMergeOfHolders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := drawLeaves(t)
		cuts, group := drawSplit(t, len(leaves)), rapid.IntRange(1, 4).Draw(t, "holders of a group")
		var all []tree.Node
		for first := 0; first < len(cuts)-1; first += group {
			end := min(first+group, len(cuts)-1)
			var nodes []tree.Node
			for r := first; r < end; r++ {
				s := tree.NewSum(len(leaves[0]))
				enter(s, leaves, cuts[r], cuts[r+1])
				nodes = append(nodes, s.Nodes()...)
			}
			var positions []tree.Position
			for _, n := range tree.Merge(nodes) {
				positions = append(positions, n.Position())
				all = append(all, n)
			}
			require.Equal(t, tree.Cover(cuts[first], cuts[end]), positions)
		}
		require.Equal(t, bitsOf(whole(leaves)), bitsOf(tree.Fold(all)), "cuts %v", cuts)
	})
}

func TestSumIsReusable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := drawLeaves(t)
		s := tree.NewSum(len(leaves[0]))
		for range 3 {
			enter(s, leaves, 0, len(leaves))
			require.Equal(t, bitsOf(whole(leaves)), bitsOf(s.Total()))
			require.Equal(t, bitsOf(whole(leaves)), bitsOf(s.Total()), "asked again")
			s.Reset()
			require.Equal(t, make([]float32, s.Len()), s.Total(), "nothing held")
			require.Empty(t, s.Nodes())
		}
	})
}

// TestAddends enters leaves in any order, and adds those that may be added.
func TestAddends(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := drawLeaves(t)
		order := rapid.Permutation(rapid.SliceOfNDistinct(rapid.IntRange(0, len(leaves)-1), len(leaves), len(leaves), rapid.ID).Draw(t, "leaves")).Draw(t, "order")
		s, ascending := tree.NewSum(len(leaves[0])), rapid.Bool().Draw(t, "ascending")
		if ascending {
			slices.Sort(order)
		}
		added := 0
		for _, i := range order {
			v, add := s.Addend(i)
			if !add {
				copy(v, leaves[i])
				continue
			}
			added++
			for j := range v {
				v[j] += leaves[i][j]
			}
		}
		if ascending {
			require.Equal(t, len(leaves)/2, added)
		}
		require.True(t, s.Holds(0, len(leaves)))
		require.Equal(t, bitsOf(whole(leaves)), bitsOf(s.Total()))
	})
}

// TestTakenIsTheCallers: what is taken is the total, and no later sum writes to it.
func TestTakenIsTheCallers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := drawLeaves(t)
		s := tree.NewSum(len(leaves[0]))
		want := bitsOf(whole(leaves))
		var taken [4][]float32
		for i := range taken {
			enter(s, leaves, 0, len(leaves))
			require.True(t, s.Holds(0, len(leaves)))
			require.False(t, s.Holds(0, len(leaves)-1))
			require.False(t, s.Holds(1, len(leaves)))
			taken[i] = s.Take(nil)
			require.True(t, s.Holds(0, 0))
		}
		for _, v := range taken {
			require.Equal(t, want, bitsOf(v))
		}
	})
	s := tree.NewSum(100)
	v := make([]float32, 100)
	pass := func() {
		for i := range 3 {
			s.Leaf(i)[0] = 1
		}
		v = s.Take(v)
	}
	pass()
	require.Zero(t, alloctest.Least(60, pass))
	require.Equal(t, float32(3), v[0])
	require.Equal(t, make([]float32, 100), s.Take(v), "nothing held")
}

// TestTakeOfASumThatWasSwapped allocates nothing, though the memory to spare is with the other.
func TestTakeOfASumThatWasSwapped(t *testing.T) {
	for leaves := range 6 {
		s, with, v := tree.NewSum(100), tree.NewSum(100), make([]float32, 100)
		pass := func() {
			s.Swap(with)
			for i := range leaves {
				s.Leaf(i)[0] = 1
			}
			s.Swap(with)
			v = with.Take(v)
		}
		pass()
		require.Zero(t, alloctest.Least(60, pass), "%d leaves", leaves)
		require.Equal(t, float32(leaves), v[0])
	}
}

func TestRangesHeldApart(t *testing.T) {
	s := tree.NewSum(1)
	for _, i := range []int{2, 3, 4, 8, 9, 10, 11} {
		s.Leaf(i)[0] = float32(i)
	}
	var got []string
	for _, n := range s.Nodes() {
		got = append(got, fmt.Sprintf("%d/%d=%v", n.Level, n.Index, n.Sum[0]))
	}
	require.Equal(t, []string{"1/1=5", "0/4=4", "2/2=38"}, got)
	require.Equal(t, []float32{47}, s.Total())
}

func TestCoverIsMaximalAndWhole(t *testing.T) {
	for hi := range 70 {
		for lo := range hi + 1 {
			next := lo
			positions := tree.Cover(lo, hi)
			for k, p := range positions {
				from, to := p.Leaves()
				require.Equal(t, next, from)
				next = to
				if k > 0 && p.Level == positions[k-1].Level {
					require.NotZero(t, positions[k-1].Index&1, "siblings in Cover(%d, %d)", lo, hi)
				}
			}
			require.Equal(t, hi, next)
			require.LessOrEqual(t, len(positions), 2*bits.Len(uint(hi-lo)))
		}
	}
	require.Nil(t, tree.Cover(5, 5))
	require.Equal(t, []tree.Position{{0, 3}, {2, 1}, {1, 4}}, tree.Cover(3, 10))
}

func TestMistakesPanic(t *testing.T) {
	s := tree.NewSum(2)
	s.Leaf(3)
	require.Panics(t, func() { s.Leaf(3) })
	require.Panics(t, func() { tree.NewSum(1).Leaf(-1) })
	require.Panics(t, func() { tree.NewSum(-1) })
	require.Panics(t, func() { tree.NewSum(1).Swap(tree.NewSum(2)) })
	require.Panics(t, func() { tree.Cover(2, 1) })
	require.Panics(t, func() { tree.Fold([]tree.Node{{Index: 1}}) }, "leaf 0 is missing")
	require.Panics(t, func() { tree.Fold([]tree.Node{{Sum: []float32{1}}, {Index: 1}}) }, "lengths differ")
	require.Nil(t, tree.Fold(nil))
}

func TestSteadySumDoesNotAllocate(t *testing.T) {
	s := tree.NewSum(100)
	pass := func() {
		for i := range 37 {
			s.Leaf(i)[5] = 1
		}
		s.Total()
		s.Reset()
	}
	pass()
	require.Zero(t, alloctest.Least(60, pass))
}

// TestFree leaves a sum without leaves or memory, which can be used again.
func TestFree(t *testing.T) {
	s := tree.NewSum(3)
	for range 2 {
		for i := range 5 {
			s.Leaf(i)[1] = float32(i)
		}
		require.Equal(t, []float32{0, 10, 0}, s.Total())
		s.Free()
		require.Equal(t, tree.NewSum(3), s)
	}
}

// TestSwap: a sum goes on where the other one was, whatever comes in between.
func TestSwap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := [][][]float32{drawLeaves(t), nil}
		all[1] = rapid.SliceOfN(rapid.SliceOfN(rapid.Float32Range(-1e6, 1e6), len(all[0][0]), len(all[0][0])), 1, 70).Draw(t, "others")
		entered := tree.NewSum(len(all[0][0]))
		own := []*tree.Sum{tree.NewSum(entered.Len()), tree.NewSum(entered.Len())}
		next := [2]int{}
		for next[0] < len(all[0]) || next[1] < len(all[1]) {
			of := rapid.IntRange(0, 1).Draw(t, "of")
			if next[of] == len(all[of]) {
				of = 1 - of
			}
			end := rapid.IntRange(next[of], len(all[of])).Draw(t, "end")
			entered.Swap(own[of])
			enter(entered, all[of], next[of], end)
			entered.Swap(own[of])
			next[of] = end
		}
		require.Empty(t, entered.Nodes())
		for i := range own {
			require.Equal(t, bitsOf(whole(all[i])), bitsOf(own[i].Total()))
		}
	})
}

// TestSwapLeavesSpareMemory with the sum that leaves are entered into: two passes need hardly more
// than one.
func TestSwapLeavesSpareMemory(t *testing.T) {
	entered, own := tree.NewSum(1000), []*tree.Sum{tree.NewSum(1000), tree.NewSum(1000)}
	pass := func() {
		for i := range 2 {
			entered.Swap(own[i])
			for leaf := range 16 {
				entered.Leaf(leaf)[0] = 1
			}
			entered.Swap(own[i])
		}
		for i := range 2 {
			own[i].Reset()
		}
	}
	pass()
	require.Zero(t, alloctest.Least(60, pass))
	fresh := tree.NewSum(1000)
	one := alloctest.Least(1, func() {
		fresh = tree.NewSum(1000)
		for leaf := range 16 {
			fresh.Leaf(leaf)[0] = 1
		}
	})
	both := alloctest.Least(1, func() {
		entered, own = tree.NewSum(1000), []*tree.Sum{tree.NewSum(1000), tree.NewSum(1000)}
		pass()
	})
	require.Less(t, both, 2*one)
}
