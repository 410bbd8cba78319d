package links

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// TestLeastSum: sums by node begin where the bytes that do not cross cost more than the messages
// within nodes, and never where links between nodes are as fast as the memory that ranks share.
func TestLeastSum(t *testing.T) {
	within := Link{Alpha: 20 * time.Microsecond, Beta: 0.25}
	between := func(beta float64) Link { return Link{Alpha: 80 * time.Microsecond, Beta: beta} }
	for _, c := range []struct {
		links       Links
		ranks, each int
		want        int
	}{
		{Links{}, 8, 2, 0}, // not known
		{Links{Within: within, Between: between(8)}, 8, 8, 0},          // one node
		{Links{Within: within, Between: between(8)}, 8, 2, 8 << 10},    // 1 Gb/s: 3.4 KiB by bytes alone
		{Links{Within: within, Between: between(0.8)}, 8, 2, 39_506},   // 10 Gb/s
		{Links{Within: within, Between: between(0.08)}, 32, 8, 547008}, // 100 Gb/s, more ranks share it
		{Links{Within: within, Between: between(0.08)}, 8, 2, math.MaxInt},
		{Links{Within: within, Between: between(0.125)}, 8, 2, math.MaxInt}, // as much
		{Links{Within: Link{}, Between: between(8)}, 8, 2, 8 << 10},
	} {
		require.Equal(t, c.want, c.links.LeastSum(alltoall.Nodes(c.ranks, c.each)), "%+v, %d ranks of %d", c.links, c.ranks, c.each)
	}
	require.Zero(t, Links{Within: within, Between: within}.LeastSum(alltoall.Topology{}))
}
