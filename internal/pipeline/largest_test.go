package pipeline

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/switchyard-moe/switchyard/alltoall"
)

// TestLargestNumberOfChunks: as many as experts of a rank; by ranks if a rank has fewer, and then
// no more than ranks, or the power of two below for a tuner.
func TestLargestNumberOfChunks(t *testing.T) {
	for _, c := range []struct {
		degree         int
		tuned          bool
		experts, ranks int
		most           int
		byRanks        bool
	}{
		{0, false, 4, 4, 1, false},
		{3, false, 8, 2, 3, false},
		{3, false, 8, 4, 3, true},
		{7, false, 8, 3, 3, true},
		{0, true, 8, 2, 4, false},
		{7, true, 8, 2, 4, false},
		{8, true, 8, 3, 2, true},
		{0, true, 1, 1, 1, true},
	} {
		most, byRanks := Largest(c.degree, c.tuned, alltoall.Even(c.experts, c.ranks))
		require.Equal(t, c.most, most, "%+v", c)
		require.Equal(t, c.byRanks, byRanks, "%+v", c)
	}
}
