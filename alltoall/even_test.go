package alltoall

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestChunksOfSharedExpertsAreEven in rows: they end between groups or runs, where it is nearest to
// an equal share.
func TestChunksOfSharedExpertsAreEven(t *testing.T) {
	for _, c := range []struct {
		hosted, groups, chunks int
		rows                   []int64
		want                   []int
	}{
		{2, 0, 2, []int64{10, 10, 20}, []int{0, 2, 3}},
		{2, 0, 2, []int64{40, 0, 60}, []int{0, 1, 3}},
		{2, 0, 2, []int64{40, 60}, []int{0, 1, 2}},
		{4, 2, 2, []int64{1, 30, 30, 30, 9}, []int{0, 2, 5}},
		{4, 2, 3, []int64{1, 30, 30, 30, 9}, []int{0, 2, 4, 5}},
		{4, 1, 2, []int64{1, 1, 1, 1, 1, 3}, []int{0, 4, 6}},
		{0, 2, 2, []int64{5, 5, 5}, []int{0, 1, 3}},
		{1, 0, 4, []int64{0, 0}, []int{0, 0, 0, 0, 2}},
		{2, 3, 2, []int64{0, 1 << 40, 1 << 40}, []int{0, 2, 3}},
	} {
		r := receiver{ranks: 1, computed: len(c.rows), hosted: c.hosted, groups: c.groups, rows: c.rows}
		got := []int{0}
		for chunk := range c.chunks {
			begin, end := ByExperts(c.chunks).experts(r, 0, chunk)
			require.Equal(t, got[len(got)-1], begin)
			got = append(got, end)
		}
		require.Equal(t, c.want, got, "%+v", c)
	}
}
