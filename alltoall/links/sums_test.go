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
	between := func(alpha time.Duration, beta float64) Link { return Link{alpha * time.Microsecond, beta} }
	for _, c := range []struct {
		links       Links
		ranks, each int
		want        int
	}{
		{Links{}, 8, 2, 0}, // not known
		{Links{Within: within, Between: between(20, 8)}, 8, 8, 0},          // one node
		{Links{Within: within, Between: between(20, 8)}, 8, 2, 4 << 10},    // 1 Gb/s: 3.4 KiB by bytes
		{Links{Within: within, Between: between(20, 0.8)}, 8, 2, 39_506},   // 10 Gb/s
		{Links{Within: within, Between: between(25, 0.8)}, 8, 2, 9876},     // and messages that cost more
		{Links{Within: within, Between: between(80, 0.8)}, 8, 2, 4 << 10},  // by themselves
		{Links{Within: within, Between: between(20, 0.08)}, 32, 8, 547008}, // 100 Gb/s, more ranks
		{Links{Within: within, Between: between(80, 0.08)}, 8, 2, math.MaxInt},
		{Links{Within: within, Between: between(80, 0.125)}, 8, 2, math.MaxInt}, // as fast as the memory
		{Links{Within: Link{}, Between: between(80, 8)}, 8, 2, 4 << 10},
	} {
		require.Equal(t, c.want, c.links.LeastSum(alltoall.Nodes(c.ranks, c.each)), "%+v, %d ranks of %d", c.links, c.ranks, c.each)
	}
	require.Zero(t, Links{Within: within, Between: within}.LeastSum(alltoall.Topology{}))
}
