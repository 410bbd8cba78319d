package alltoall

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// TestRowsThatAnExpertCanGet: no more than the tokens that are not padding, or what a leaf of mixtures may have.
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
