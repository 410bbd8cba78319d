package alltoall

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

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
