package alltoall

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// TestRowsThatAnExpertCanGet: no more than the tokens that are not padding, or what a leaf of
// mixtures may have.
func TestRowsThatAnExpertCanGet(t *testing.T) {
	ends := inproc.New(1)
	defer ends[0].Close()
	decode := func(leafRows int, c Counts) error {
		x, err := New(ends[0], Config{Placement: Even(1, 1), Dim: 4, MaxRows: 100, LeafRows: leafRows})
		require.NoError(t, err)
		a, err := x.decodeCounts(0, x.encodeCounts(c, 0, crossings{}))
		if err == nil {
			require.Equal(t, []int{c.Tokens, c.Padding, c.Leaves}, []int{a.tokens, a.padding, a.leaves})
		}
		return err
	}
	require.NoError(t, decode(0, Counts{Tokens: 5, Padding: 2, Leaves: 1, Rows: []int{3}}))
	require.ErrorIs(t, decode(0, Counts{Tokens: 5, Padding: 2, Leaves: 1, Rows: []int{4}}), transport.ErrProtocol)
	require.ErrorIs(t, decode(0, Counts{Tokens: 5, Padding: 6, Leaves: 1, Rows: []int{0}}), transport.ErrProtocol)
	require.NoError(t, decode(0, Counts{Tokens: 5, Padding: 5, Leaves: 2, Rows: []int{0, 0}}))
	require.NoError(t, decode(8, Counts{Tokens: 2, Leaves: 2, Rows: []int{8, 8}}))
	require.ErrorIs(t, decode(8, Counts{Tokens: 2, Leaves: 2, Rows: []int{8, 9}}), transport.ErrProtocol)
	_, err := New(ends[0], Config{Placement: Even(1, 1), Dim: 4, LeafRows: -1})
	require.ErrorContains(t, err, "LeafRows is -1")
}

// TestMaxCounts bounds the groups of tokens times experts of one rank, and those of all ranks
// together.
func TestMaxCounts(t *testing.T) {
	ends := inproc.New(2)
	defer ends[0].Close()
	defer ends[1].Close()
	x, err := New(ends[0], Config{Placement: Hosted([]int{2, 0}), Dim: 4})
	require.NoError(t, err)
	x.counted = 6
	words := func(leaves int) []byte {
		return x.encodeCounts(Counts{Tokens: 9, Leaves: leaves, Rows: make([]int, 2*leaves)}, 0, crossings{})
	}
	_, err = x.decodeAll([][]byte{words(2), words(1)})
	require.NoError(t, err)
	_, err = x.decodeAll([][]byte{words(4), words(1)})
	require.ErrorIs(t, err, transport.ErrTooLarge)
	require.ErrorContains(t, err, "8 groups of tokens × experts of rank 0, MaxCounts is 6")
	_, err = x.decodeAll([][]byte{words(3), words(1)})
	require.ErrorIs(t, err, transport.ErrTooLarge)
	require.ErrorContains(t, err, "8 groups of tokens × experts of rank 0 from it and the ranks before, MaxCounts is 6")
	require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
}

// TestMaxRelayFollowsMaxRows: a rank holds as much for others as it may take in itself, so that
// large exchanges need no setting. The bound is at most the highest int.
func TestMaxRelayFollowsMaxRows(t *testing.T) {
	ends := inproc.New(1)
	defer ends[0].Close()
	for _, c := range []struct{ dim, rows, relay, want int }{
		{4, 100, 0, DefaultMaxRelay},
		{1 << 10, 0, 0, min(1<<36, math.MaxInt)},
		{1 << 16, 1 << 13, 0, min(1<<31, math.MaxInt)},
		{1 << 16, 1 << 13, 7, 7},
		{1 << 20, math.MaxInt32, 0, min(math.MaxInt32<<22, math.MaxInt)},
	} {
		x, err := New(ends[0], Config{Placement: Even(1, 1), Dim: c.dim, MaxRows: c.rows, MaxRelay: c.relay})
		require.NoError(t, err)
		require.Equal(t, c.want, x.maxRelay, "dim %d, %d rows", c.dim, c.rows)
	}
}

// TestCountsOfOtherNodesAreChecked: what a peer says of rows for other ranks and nodes fits
// together, or is its fault.
func TestCountsOfOtherNodesAreChecked(t *testing.T) {
	ends := inproc.New(4)
	x, err := New(ends[0], Config{Placement: Even(4, 4), Dim: 4, Topology: Nodes(4, 2), Costs: slowBetween(time.Millisecond)})
	require.NoError(t, err)
	x.seq = 7
	from1 := Counts{Tokens: 9, Leaves: 1, Rows: []int{2, 3, 4, 0}}
	encoded := func() []byte {
		other, err := New(ends[1], Config{Placement: Even(4, 4), Dim: 4, Topology: Nodes(4, 2), Costs: slowBetween(time.Millisecond)})
		require.NoError(t, err)
		return other.encodeCounts(from1, 0, crossings{rows: 4, byNode: 3, byRank: 5})
	}
	a, err := x.decodeCounts(1, encoded())
	require.NoError(t, err)
	require.Equal(t, announcement{tokens: 9, leaves: 1, leaving: 6, crossings: crossings{4, 3, 5}, rows: []int{2}, toNode: []int{2, 4}}, a)
	for says, c := range map[string]struct{ word, value int }{
		"its layer has dim 5 and 4 experts, here 4 and 4":                                           {wordDim, 5},
		"10 tokens, 11 of them padding":                                                             {wordPadding, 11},
		"28 rows for other ranks, at most 27 of 9 tokens":                                           {wordLeaving, 28},
		"10 rows for its expert +0 here, of 9 tokens":                                               {countsHeader, 10},
		"7 rows for node 1, of 6 that leave":                                                        {countsHeader + 2, 7},
		"7 rows for other nodes, 3 and 5 without repeated tokens, of 6":                             {wordCrossing, 7},
		"4 rows for other nodes, 5 and 5 without repeated tokens, of 6":                             {wordByNode, 5},
		"4 rows for other nodes, 3 and 7 without repeated tokens, of 6":                             {wordByRank, 7},
		"16777217 groups of tokens × experts of rank 0, MaxCounts is 1000; larger groups are fewer": {wordLeaves, 1<<24 + 1},
	} {
		words := encoded()
		if c.word == wordPadding {
			binary.LittleEndian.PutUint32(words[4*wordTokens:], 10)
		}
		if c.word == wordLeaves {
			x.counted = 1000
			binary.LittleEndian.PutUint32(words[4*wordTokens:], 1<<25)
		}
		binary.LittleEndian.PutUint32(words[4*c.word:], uint32(c.value))
		_, err := x.decodeCounts(1, words)
		x.counted = MaxCounts
		require.ErrorContains(t, err, "rank 1: counts #7: ")
		require.ErrorContains(t, err, says)
	}
	for _, e := range ends {
		require.NoError(t, e.Close())
	}
}

// TestCrossingsCountEachTokenOnce for each node and for each rank that it goes to, however many
// experts it has there, and rows without Token each by itself.
func TestCrossingsCountEachTokenOnce(t *testing.T) {
	ends := inproc.New(4)
	x, err := New(ends[1], Config{Placement: Even(8, 4), Dim: 1, Topology: Nodes(4, 2)})
	require.NoError(t, err)
	c := Counts{Tokens: 3, Leaves: 1, Rows: []int{1, 1, 2, 0, 3, 1, 1, 0}}
	// Tokens by expert: rank 0 gets 0 and 0, rank 1 0 and 1, rank 2 0, 1, 2 and 0, and rank 3 0.
	s := source{m: blas32.General{Rows: 3, Cols: 1, Stride: 1}, token: []int32{0, 0, 0, 1, 0, 1, 2, 0, 0}}
	for range 2 { // the second time in recycled memory
		require.Equal(t, crossings{rows: 5, byNode: 3, byRank: 1 + 3 + 1}, s.crossings(x, c))
	}
	require.Equal(t, crossings{rows: 5, byNode: 5, byRank: 7}, source{m: s.m}.crossings(x, c))
	for _, e := range ends {
		require.NoError(t, e.Close())
	}
}

// TestTimesIsAtMostTheHighestInt.
func TestTimesIsAtMostTheHighestInt(t *testing.T) {
	require.Equal(t, 12, times(3, 4))
	require.Zero(t, times(0, math.MaxInt))
	require.Equal(t, math.MaxInt, times(math.MaxInt, 2))
	require.Equal(t, math.MaxInt, times(math.MaxInt, math.MaxInt))
	require.Equal(t, math.MaxInt-1, times(math.MaxInt/2, 2))
}

// TestPoolKeepsTheLargest of the matrices that are given back.
func TestPoolKeepsTheLargest(t *testing.T) {
	var p pool
	p.put(nil)
	require.Empty(t, p.free)
	for n := 1; n <= 9; n++ {
		p.put(make([]float32, 0, 10*n))
	}
	require.Len(t, p.free, 8)
	p.put(make([]float32, 0, 5))
	var have []int
	for _, f := range p.free {
		have = append(have, cap(f))
	}
	require.ElementsMatch(t, []int{20, 30, 40, 50, 60, 70, 80, 90}, have)
	require.Equal(t, 80, cap(p.get(75)), "the last one that has room")
	require.Len(t, p.free, 7)
	require.GreaterOrEqual(t, cap(p.get(800)), 900, "with room to grow")
}
