package balance

import (
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// Threshold is a planner like UltraEP's (Peking University, 2026): it searches for the lowest
// ceiling of rows to which helpers can relieve every rank, from the most loaded rank and its
// largest expert on, each piece going to the rank with the most room. It counts rows, not time, and
// does not ask what a copy costs.
type Threshold struct {
	search search
	ones   []int64
}

var _ Planner = (*Threshold)(nil)

// String is "threshold".
func (*Threshold) String() string { return "threshold" }

// Plan is described at [Planner].
func (t *Threshold) Plan(p *Problem) alltoall.Allocation {
	s := &t.search
	if !s.draft.begin(p) {
		return nil
	}
	t.ones = slices.Grow(t.ones[:0], len(s.draft.Rows))[:len(s.draft.Rows)]
	for r := range t.ones {
		t.ones[r] = 1
	}
	s.costs = Costs{Row: t.ones}
	s.start = append(s.start[:0], s.draft.Rows...)
	if !s.find() {
		return nil
	}
	s.draft.divide(byRank)
	return s.draft.result()
}
