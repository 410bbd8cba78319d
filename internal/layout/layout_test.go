package layout_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
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

func TestCheckOrder(t *testing.T) {
	require.NoError(t, layout.CheckOrder([]int{2, 0, 1}, 3))
	for want, order := range map[string][]int{
		"rank 3 is outside 0..2 or listed twice in [0 3 1]": {0, 3, 1}, "rank -1 is outside": {-1},
		"listed twice in [1 1 0]": {1, 1, 0}, "2 ranks, want all 3": {1, 2},
	} {
		require.ErrorContains(t, layout.CheckOrder(order, 3), want)
	}
}

func TestCheckHosted(t *testing.T) {
	require.NoError(t, layout.CheckHosted(nil, 4, 3))
	require.NoError(t, layout.CheckHosted([]int{0, 4, 0}, 4, 3))
	for want, hosted := range map[string][]int{
		"Hosted has 1 numbers, want one for each of the 3 ranks": {4}, "Hosted[1] is -1, want 0 to": {4, -1, 1},
		"Hosted[0] is 5, want 0 to the 4 experts": {5, 0, 0}, "Hosted has the sum 3": {1, 1, 1},
	} {
		require.ErrorContains(t, layout.CheckHosted(hosted, 4, 3), want)
	}
}

// TestHostedOfCopies: the ranks of each copy host the same numbers.
func TestHostedOfCopies(t *testing.T) {
	for _, c := range []struct {
		hosted   []int
		parallel int
		want     []int
	}{
		{nil, 2, nil}, {[]int{1, 4, 1, 4}, 2, []int{1, 4}}, {[]int{1, 4, 1, 4}, 0, []int{1, 4, 1, 4}},
		{[]int{1, 4}, 2, []int{1, 4}}, {[]int{1, 4}, 3, []int{1, 4}},
	} {
		got, err := layout.HostedOfCopies(c.hosted, c.parallel)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	_, err := layout.HostedOfCopies([]int{1, 4, 1, 3}, 2)
	require.ErrorContains(t, err, "Hosted[3] 3 and Hosted[1] 4")
}

func TestCheckMachineHosted(t *testing.T) {
	require.NoError(t, layout.CheckMachineHosted(nil, 2))
	require.NoError(t, layout.CheckMachineHosted([]int{0, 2}, 2))
	require.ErrorContains(t, layout.CheckMachineHosted([]int{1}, 2), "Hosted has 1 numbers, want one for each of the 2 ranks")
	require.ErrorContains(t, layout.CheckMachineHosted([]int{1, -1}, 2), "Hosted[1] is -1")
}

// TestComm of the ranks of two nodes: a sum by node has the same value.
func TestComm(t *testing.T) {
	ranktest.Succeed(t, ranktest.Errors(t, 4, func(tr transport.Transport) error {
		between := links.Links{Between: links.Link{Beta: 8}}
		c, err := layout.Comm(tr, layout.Ranks(1, 4, 1), []int{9, 2, 2, 5, 5}, between)
		if err != nil {
			return err
		}
		x := make([]float32, 1<<14)
		x[3] = float32(tr.Rank())
		if err := c.AllReduce(t.Context(), x); err != nil {
			return err
		}
		require.Equal(t, float32(6), x[3])
		err = layout.SetNodes(c, layout.Ranks(0, 3, 1), []int{0, 0, 1}, between)
		require.ErrorContains(t, err, "set nodes: the nodes of 3 ranks, want 4")
		return nil
	}))
}
