package balance

import (
	"cmp"
	"math/bits"
	"slices"
	"sort"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// order says in which order the ranks of an expert take its leaves.
type order int

const (
	byRank    order = iota // so that many rows are computed by the rank of their tokens
	homeFirst              // then helpers in the order in which they were chosen
)

// cutter divides the leaves of an expert into runs.
type cutter struct {
	before []int64 // the rows in all leaves before each, and at the end in all
	shares []piece
}

// read counts the rows of an expert, by leaf.
func (c *cutter) read(rows []int32) {
	c.before = append(c.before[:0], 0)
	for i, n := range rows {
		c.before = append(c.before, c.before[i]+int64(n))
	}
}

// cut appends the runs of the expert that was read. Its helpers compute about the rows of their
// pieces and its home the rest. A run ends at the leaf where the sum of pieces is met most closely,
// or, if slack is not 0, at one off by up to slack parts in 1024 of the piece, at which the largest
// subtree begins: then the run has fewer nodes. A rank that would have no rows has no run. Nothing
// is appended if the home has all.
func (c *cutter) cut(runs []alltoall.Run, e, home int, helpers []piece, by order, slack int64) []alltoall.Run {
	at, begin, goal, leaves := len(runs), 0, int64(0), len(c.before)-1
	for i, p := range c.withHome(e, home, helpers, by) {
		goal += p.rows
		end := leaves
		if i < len(c.shares)-1 {
			end = c.nearest(begin, goal, p.rows*slack/1024)
		}
		if c.before[end] > c.before[begin] {
			runs = append(runs, alltoall.Run{Expert: e, Rank: int(p.rank), First: begin, End: end})
			begin = end
		}
	}
	if len(runs) == at || len(runs) == at+1 && runs[at].Rank == home {
		return runs[:at]
	}
	runs[len(runs)-1].End = leaves // those behind have no rows
	return runs
}

// withHome returns the pieces of all ranks of an expert, in the order in which they take leaves.
func (c *cutter) withHome(e, home int, helpers []piece, by order) []piece {
	rest := c.before[len(c.before)-1]
	for _, p := range helpers {
		rest -= p.rows
	}
	c.shares = append(c.shares[:0], piece{int32(e), int32(home), max(rest, 0)})
	c.shares = append(c.shares, helpers...)
	if by == byRank {
		slices.SortFunc(c.shares, func(a, b piece) int { return cmp.Compare(a.rank, b.rank) })
	}
	return c.shares
}

// nearest is the leaf from begin on before which there are about goal rows: the nearest, of two as
// near the first; or of those within tolerance that at which the largest subtree begins, of equal
// ones the nearest.
func (c *cutter) nearest(begin int, goal, tolerance int64) int {
	leaves := len(c.before) - 1
	from := func(rows int64) int {
		return begin + sort.Search(leaves-begin, func(i int) bool { return c.before[begin+i] >= rows })
	}
	off := func(i int) int64 { return max(c.before[i]-goal, goal-c.before[i]) }
	at := from(goal)
	if at > begin && off(at-1) <= off(at) {
		at--
	}
	if tolerance == 0 || at == begin {
		return at
	}
	for i := max(from(goal-tolerance), begin+1); i < leaves && c.before[i] <= goal+tolerance; i++ {
		size, best := bits.TrailingZeros(uint(i)), bits.TrailingZeros(uint(at))
		if size > best || size == best && off(i) < off(at) {
			at = i
		}
	}
	return at
}
