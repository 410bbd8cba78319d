package links

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// TestCostOfEachAlgorithm has the counts that the comments on the algorithms state, for 4 nodes of
// 4.
func TestCostOfEachAlgorithm(t *testing.T) {
	top := alltoall.Nodes(16, 4)
	for a, want := range map[alltoall.Algorithm]Cost{
		alltoall.Direct:     {Steps: 1, Within: 3, Between: 12, BytesWithin: 3, BytesBetween: 12},
		alltoall.Pairwise:   {Steps: 15, Within: 3, Between: 12, BytesWithin: 3, BytesBetween: 12},
		alltoall.Bruck:      {Steps: 4, Within: 2, Between: 2, BytesWithin: 16, BytesBetween: 16},
		alltoall.Leader:     {Steps: 3, Within: 6, Between: 3, BytesWithin: 3 + 3*12, BytesBetween: 3 * 16},
		alltoall.Rails:      {Steps: 2, Within: 3, Between: 3, BytesWithin: 3 * 4, BytesBetween: 12},
		alltoall.Dedup:      {Steps: 1, Within: 3, Between: 12, BytesWithin: 3, BytesBetween: 12},
		alltoall.ThreeLevel: {Steps: 3, Within: 2, Between: 3, BytesWithin: 8 + 8, BytesBetween: 12},
	} {
		require.Equal(t, want, Links{}.Cost(a, top, 16, 0, 1), a.String())
	}
}

// TestRoundIsOfTheSlowestRank: as its messages cost, or as measured between as many ranks.
func TestRoundIsOfTheSlowestRank(t *testing.T) {
	l := Links{Within: Link{Alpha: 1000, Beta: 1}, Between: Link{Alpha: 10000, Beta: 8}}
	round := alltoall.UniformRound{
		Algorithm: alltoall.Direct, Topology: alltoall.Nodes(3, 2), Ranks: 3, Bytes: 100, Crossing: 1,
	}
	// Ranks 0 and 1 share their node's link; rank 2 has one of its own, and two messages to send.
	require.Equal(t, time.Duration(2*(10000+8*100)), l.Round(round))
	round.Crossing = 0.5
	require.Equal(t, time.Duration(2*(10000+8*50)), l.Round(round))
	l.Rounds = Rounds{Ranks: 3, Bytes: [roundSizes]int{10, 100, 1000, 10000}}
	l.Rounds.Times[alltoall.Direct] = [roundSizes]time.Duration{20000, 30000, 40000, 50000}
	saved := time.Duration(2 * 8 * 50)
	require.Equal(t, 30000-saved, l.Round(round))
	round.Crossing, round.Bytes = 1, 55
	require.Equal(t, time.Duration(25000), l.Round(round))
	round.Ranks, round.Topology = 2, alltoall.Nodes(2, 2)
	require.Equal(t, time.Duration(1000+55), l.Round(round), "not measured between two ranks")
}

// TestExchangesPredictByLinks: if each message between nodes is dear, Rails is the fastest.
func TestExchangesPredictByLinks(t *testing.T) {
	l := Links{Within: Link{Alpha: time.Microsecond, Beta: 0.1}, Between: Link{Alpha: 100 * time.Microsecond, Beta: 8}}
	ts := inproc.New(8)
	x, err := alltoall.New(ts[0], alltoall.Config{
		Placement: alltoall.Even(8, 8), Dim: 1, Topology: alltoall.Nodes(8, 2), Costs: l,
	})
	require.NoError(t, err)
	list := x.Predict(4096, alltoall.Share{Nodes: 1, Ranks: 1})
	require.Len(t, list, len(alltoall.Algorithms()))
	for _, p := range list {
		require.LessOrEqual(t, list[alltoall.Rails-1].Combine, p.Combine, "%v", p.Algorithm)
	}
	for _, tr := range ts {
		require.NoError(t, tr.Close())
	}
}
