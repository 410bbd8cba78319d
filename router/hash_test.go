package router

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHashIsStable holds the hash to what it was when this was written: a model trained with it
// depends on it.
func TestHashIsStable(t *testing.T) {
	ids := []int32{0, 1, 2, 3, 50256, 1 << 30, -1, 7}
	g, err := Hash{K: 2}.New(Shape{Dim: 8, Experts: 16, Seed: 42})
	require.NoError(t, err)
	d, err := g.Route(identity(8), Batch{Ends: []int{8}, IDs: ids})
	require.NoError(t, err)
	require.Equal(t, [][]int{{5, 13}, {6, 15}, {7, 15}, {2, 15}, {7, 14}, {3, 10}, {0, 1}, {1, 3}}, expertsOf(d))
}

// TestHash expects a token to go where its number says, whatever its row, its position and its
// neighbours.
func TestHash(t *testing.T) {
	const tokens, experts = 3000, 8
	r := rand.New(rand.NewPCG(1, 2))
	ids := make([]int32, tokens)
	for i := range ids {
		ids[i] = int32(r.IntN(1000))
	}
	x := dense(tokens, 1, make([]float32, tokens))
	for _, k := range []int{1, 3, 8} {
		g, err := Hash{K: k}.New(Shape{Dim: 1, Experts: experts})
		require.NoError(t, err)
		d, err := g.Route(x, Batch{Ends: []int{1000, tokens}, IDs: ids})
		require.NoError(t, err)
		require.NoError(t, d.Validate())
		of := map[int32][]int{}
		for i, list := range expertsOf(d) {
			require.Len(t, list, k)
			if seen, ok := of[ids[i]]; ok {
				require.Equal(t, seen, list)
			}
			of[ids[i]] = list
		}
		mean := float64(tokens*k) / experts
		for _, n := range d.Counts {
			require.InEpsilon(t, mean, n, 0.3, "%v", d.Counts)
		}
	}
	_, err := Hash{K: 9, Table: []ExpertID{8}}.New(Shape{Dim: 1, Experts: 8})
	for _, says := range []string{"K is 9", "goes with K = 1", "token 0 of the table goes to expert 8"} {
		require.ErrorContains(t, err, says)
	}
	g, err := Hash{}.New(Shape{Dim: 1, Experts: 8})
	require.NoError(t, err)
	_, err = g.Route(x, Batch{Ends: []int{tokens}})
	require.EqualError(t, err, "router: Hash: 0 token numbers (IDs) for 3000 tokens")
}

// TestHashOfRows expects equal rows to go together.
func TestHashOfRows(t *testing.T) {
	x := dense(6, 2, []float32{1, 2, 3, 4, 1, 2, 5, 6, 3, 4, 1, 2})
	g, err := Hash{Rows: true}.New(Shape{Dim: 2, Experts: 64})
	require.NoError(t, err)
	d, err := g.Route(x, Batch{Ends: []int{2, 6}})
	require.NoError(t, err)
	list := expertsOf(d)
	require.Equal(t, list[0], list[2])
	require.Equal(t, list[0], list[5])
	require.Equal(t, list[1], list[4])
	require.NotEqual(t, list[0], list[3])
}

func TestHashByTable(t *testing.T) {
	table := BalancedTable([]int{5, 1, 9, 5, 2}, 3)
	require.Equal(t, []ExpertID{1, 2, 0, 2, 1}, table)
	g, err := Hash{Table: table}.New(Shape{Dim: 3, Experts: 3})
	require.NoError(t, err)
	d, err := g.Route(identity(3), Batch{Ends: []int{3}, IDs: []int32{2, 3, 0}})
	require.NoError(t, err)
	require.Equal(t, [][]int{{0}, {2}, {1}}, expertsOf(d))
	_, err = g.Route(identity(3), Batch{Ends: []int{3}, IDs: []int32{2, 5, 0}})
	require.EqualError(t, err, "router: token 1 has number 5, the table has 5")
	_, err = g.Route(identity(3), Batch{Ends: []int{3}, IDs: []int32{2, 5, 0}, Padding: []bool{false, true, false}})
	require.NoError(t, err)
	require.NotEqual(t, Hash{Table: table}.String(), Hash{Table: slices.Repeat([]ExpertID{0}, 5)}.String())
}
