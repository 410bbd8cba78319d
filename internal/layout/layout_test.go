package layout_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/transport"
)

// TestCopies of three ranks in a world of six: rank 4 is the second of the second copy.
func TestCopies(t *testing.T) {
	at := layout.New(layout.Config{Rank: 4, Size: 6, ExpertParallel: 3, Experts: 7, Hosted: []int{1, 4, 2}})
	require.Equal(t, layout.Layout{
		Parallel: 3, Copies: 2, Copy: 1, Rank: 1, Placement: alltoall.Hosted([]int{1, 4, 2}),
	}, at)
	require.Equal(t, []transport.Rank{3, 4, 5}, at.OneCopy())
	require.Equal(t, []transport.Rank{1, 4}, at.Replicas())
	require.Equal(t, []transport.Rank{0, 1, 2, 3, 4, 5}, at.World())
}

// TestOneCopyByDefault has the experts spread evenly over all ranks.
func TestOneCopyByDefault(t *testing.T) {
	at := layout.New(layout.Config{Rank: 2, Size: 3, Experts: 5})
	require.Equal(t, []transport.Rank{0, 1, 2}, at.OneCopy())
	require.Equal(t, []transport.Rank{2}, at.Replicas())
	require.Equal(t, alltoall.Even(5, 3), at.Placement)
}

// TestTopologyOfACopy numbers the nodes of its ranks from 0; without nodes there are none.
func TestTopologyOfACopy(t *testing.T) {
	at := layout.New(layout.Config{Rank: 4, Size: 6, ExpertParallel: 3, Experts: 3})
	world := alltoall.Topology{Node: []int{0, 0, 1, 2, 1, 2}}
	require.Equal(t, alltoall.Topology{Node: []int{0, 1, 0}}, at.Topology(world))
	require.Equal(t, alltoall.Topology{}, at.Topology(alltoall.Topology{}))
}
