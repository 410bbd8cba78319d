package switchyard

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
)

// TestMeasurementsAreTheSameOnEveryRank, and measure something.
func TestMeasurementsAreTheSameOnEveryRank(t *testing.T) {
	const ranks = 4
	var measured [ranks]links.Measured
	var pairs [ranks]links.Pairs
	for rank, err := range onRanks(inprocWorlds(ranks), func(w *World) (err error) {
		if measured[w.Rank()], err = w.MeasureLinks(t.Context(), alltoall.Nodes(ranks, 2)); err != nil {
			return err
		}
		pairs[w.Rank()], err = w.MeasurePairs(t.Context())
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	for r := range ranks {
		require.Equal(t, fmt.Sprint(measured[0]), fmt.Sprint(measured[r]), "rank %d", r)
		require.Equal(t, pairs[0], pairs[r], "rank %d", r)
	}
	require.NotZero(t, measured[0].Links)
	require.NoError(t, measured[0].Validate())
	require.Len(t, pairs[0], ranks)
}
