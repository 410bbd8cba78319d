package alltoall

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// TestAllCountsAreChecked: a number of a peer that is not within its limits is its fault, and one
// that this rank's peers would refuse is not sent.
func TestAllCountsAreChecked(t *testing.T) {
	ends := inproc.New(2)
	defer ends[0].Close()
	defer ends[1].Close()
	of := func(rank int) *Exchange {
		x, err := New(ends[rank], Config{
			Placement: Hosted([]int{2, 1}), Dim: 1, MaxRows: 100, Allocates: true, Topology: Nodes(2, 1), Costs: slowBetween(time.Millisecond),
		})
		require.NoError(t, err)
		x.counted = 12
		return x
	}
	x, peer := of(0), of(1)
	x.seq = 7
	own := Counts{Tokens: 9, Leaves: 2, Rows: []int{1, 2, 3, 0, 0, 4}}
	decode := func(words []byte) (*Loads, error) {
		var l Loads
		_, err := x.decodeLoads([][]byte{x.encodeLoads(own, 7, crossings{}), words}, &l)
		return &l, err
	}
	l, err := decode(peer.encodeLoads(own, 8, crossings{rows: 6, byNode: 5, byRank: 4}))
	require.NoError(t, err)
	require.Equal(t, &Loads{
		Placement: Hosted([]int{2, 1}), Leaves: []int{2, 2}, RowTime: []int64{7, 8}, Rows: []int32{1, 2, 1, 2, 3, 0, 3, 0, 0, 4, 0, 4},
	}, l)
	require.Equal(t, []int{6, 0}, x.announced[1].toNode)
	for says, change := range map[string]func(words []byte) []byte{
		"51 bytes of counts, want 52 or more":     func(w []byte) []byte { return w[:51] },
		"80 bytes of counts in 2 leaves, want 76": func(w []byte) []byte { return append(w, 0, 0, 0, 0) },
		"76 bytes of counts in 1 leaves, want 64": func(w []byte) []byte { w[4*wordLeaves] = 1; return w },
		"its layer has dim 5 and 3 experts":       func(w []byte) []byte { w[4*wordDim] = 5; return w },
		"10 rows for expert 0, of 9 tokens":       func(w []byte) []byte { w[4*(countsHeader+rowTimeWords)] = 8; return w },
		"a row takes it 9223372036854775808 ps": func(w []byte) []byte {
			binary.LittleEndian.PutUint64(w[4*countsHeader:], 1<<63)
			return w
		},
		"7 rows for node 0, of 6 that leave":      func(w []byte) []byte { w[len(w)-8] = 7; return w },
		"7 rows for other nodes, 5 and 4 without": func(w []byte) []byte { w[4*wordCrossing] = 7; return w },
		"9 groups of tokens × experts from it, more than MaxCounts, 12, with those of the ranks before": func(w []byte) []byte {
			w[4*wordLeaves] = 3
			return w
		},
		"more than MaxCounts, 12": func(w []byte) []byte {
			binary.LittleEndian.PutUint32(w[4*wordTokens:], 1<<30)
			binary.LittleEndian.PutUint32(w[4*wordLeaves:], 1<<30)
			return w
		},
	} {
		_, err := decode(change(slices.Clone(peer.encodeLoads(own, 8, crossings{rows: 6, byNode: 5, byRank: 4}))))
		require.ErrorContains(t, err, "rank 1: counts #7: ")
		require.ErrorContains(t, err, says)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
	}
	err = checks(x, Counts{Tokens: 9, Leaves: 5, Rows: make([]int, 15)})
	require.ErrorIs(t, err, transport.ErrTooLarge)
	require.ErrorContains(t, err, "15 groups of tokens × experts, MaxCounts is 12")
	require.NoError(t, checks(x, Counts{Tokens: 200, Leaves: 1, Rows: []int{200, 200, 200}}), "other ranks may compute some")
}
