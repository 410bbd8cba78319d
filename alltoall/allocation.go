package alltoall

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Loads is the rows that the tokens of all ranks have for each expert, leaf by leaf. Every rank
// knows them if [Config.Allocates].
type Loads struct {
	// Placement says which rank hosts each expert: its home.
	Placement Placement
	// Leaves is the number of leaves of each rank. Those of a rank follow those of the rank before.
	Leaves []int
	// RowTime is the [Request].RowTime of each rank.
	RowTime []int64
	// Rows[e*TotalLeaves()+l] is the number of rows of expert e in leaf l.
	Rows []int32
}

// TotalLeaves is the number of leaves of all ranks.
func (l *Loads) TotalLeaves() int { return mat.Sum(l.Leaves) }

// Of is the number of rows of expert e in leaves [first, end).
func (l *Loads) Of(e, first, end int) (rows int64) {
	at := e * l.TotalLeaves()
	for _, n := range l.Rows[at+first : at+end] {
		rows += int64(n)
	}
	return rows
}

// Run is the rows of an expert in leaves [First, End), which Rank computes.
type Run struct{ Expert, Rank, First, End int }

// Allocation says which ranks compute the rows of the experts that are shared out in one exchange:
// their runs, sorted by expert and then leaf. An expert without runs is computed by its home. The
// runs of an expert have each leaf once, and each rank has at most one of them, in any order of
// ranks; its home may have none.
type Allocation []Run

// Limits bound what the ranks that compute rows of experts of others take on.
type Limits struct {
	// Slots is the most runs of experts of other ranks that a rank computes.
	Slots int
	// Rows is the most rows, of its own experts too, that a rank with such a run computes; 0 is no
	// bound. A rank without one is not asked: what it hosts is its own.
	Rows int
}

// Validate returns an error that names the first run that makes no allocation of the loads, or the
// first rank that is above the limits.
func (a Allocation) Validate(l *Loads, limits Limits) error {
	if len(a) == 0 {
		return nil
	}
	if err := a.validateRuns(l); err != nil {
		return err
	}
	return a.validateLimits(l, limits)
}

// validateRuns checks that each leaf of an expert that has runs is in one of them.
func (a Allocation) validateRuns(l *Loads) error {
	leaves, p := l.TotalLeaves(), l.Placement
	has := make([]int, p.Ranks()) // one more than the last expert that a rank has a run of
	expert, end := -1, leaves
	for i, r := range a {
		if r.Expert < 0 || r.Expert >= p.Experts() || r.Rank < 0 || r.Rank >= p.Ranks() {
			return fmt.Errorf("alltoall: allocation: run %d is %+v, of %d experts and %d ranks", i, r, p.Experts(), p.Ranks())
		}
		if r.Expert != expert {
			if end != leaves {
				return incomplete(expert, end, leaves)
			}
			if r.Expert < expert {
				return fmt.Errorf("alltoall: allocation: run %d is of expert %d, after one of expert %d", i, r.Expert, expert)
			}
			expert, end = r.Expert, 0
		}
		if r.First != end || r.End <= r.First || r.End > leaves {
			return fmt.Errorf("alltoall: allocation: run %d is of leaves [%d, %d) of expert %d, want some from %d on, of %d",
				i, r.First, r.End, expert, end, leaves)
		}
		if has[r.Rank] == expert+1 {
			return fmt.Errorf("alltoall: allocation: run %d is the second of expert %d on rank %d, want one", i, expert, r.Rank)
		}
		has[r.Rank], end = expert+1, r.End
	}
	if end != leaves {
		return incomplete(expert, end, leaves)
	}
	return nil
}

func incomplete(expert, end, leaves int) error {
	return fmt.Errorf("alltoall: allocation: runs of expert %d end at leaf %d of %d", expert, end, leaves)
}

// validateLimits checks what ranks with runs of experts of others take on.
func (a Allocation) validateLimits(l *Loads, limits Limits) error {
	slots := make([]int, l.Placement.Ranks())
	for _, r := range a {
		if r.Rank != l.Placement.Home(r.Expert) {
			slots[r.Rank]++
		}
	}
	for r, n := range slots {
		if n > limits.Slots {
			return fmt.Errorf("alltoall: allocation: rank %d computes %d runs of experts of other ranks, limit %d", r, n, limits.Slots)
		}
	}
	if limits.Rows == 0 {
		return nil
	}
	for r, rows := range a.rows(l, make([]int64, len(slots))) {
		if slots[r] > 0 && rows > int64(limits.Rows) {
			return fmt.Errorf("alltoall: allocation: rank %d computes %d rows, limit %d", r, rows, limits.Rows)
		}
	}
	return nil
}

// rows adds the number of rows that each rank computes to list, and returns it.
func (a Allocation) rows(l *Loads, list []int64) []int64 {
	leaves, left := l.TotalLeaves(), a
	for r := range l.Placement.Ranks() {
		begin, end := l.Placement.Of(r)
		for e := begin; e < end; e++ {
			for len(left) > 0 && left[0].Expert < e {
				left = left[1:]
			}
			if len(left) == 0 || left[0].Expert > e {
				list[r] += l.Of(e, 0, leaves)
			}
		}
	}
	for _, run := range a {
		list[run.Rank] += l.Of(run.Expert, run.First, run.End)
	}
	return list
}

// Digest is a number by which ranks find out that their allocations differ: those that do have
// different ones, but for a chance of one in 2⁶⁴ or so. It is never 0.
func (a Allocation) Digest() uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // those of FNV-1a, here by number
	d := uint64(offset)
	for _, r := range a {
		for _, n := range [...]int{r.Expert, r.Rank, r.First, r.End} {
			d = (d ^ uint64(n)) * prime
			d ^= d >> 32
		}
	}
	return max(d, 1)
}
