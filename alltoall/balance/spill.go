package balance

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// Spill is the planner of LLEP (arXiv 2601.17111): from the largest expert on, each keeps the rows
// at home for which there is room below a ceiling, and spills the rest to the ranks that have the
// fewest rows. It counts rows, not time. Where LLEP gives a rank more than the ceiling because none
// has room, the rows stay home here, as limits are hard.
type Spill struct {
	// Ceiling is the most rows of a rank, in percent of the mean; 0 means 100.
	Ceiling int
	// Threshold is the largest load of a rank, in percent of the mean, below which nothing is
	// shared; 0 shares always.
	Threshold int
	// MinRows is the fewest rows of a piece, unless it is the last of an expert; 0 means 1024.
	MinRows int

	draft draft
	// spread is the rows that each rank has taken so far or will have to take itself.
	spread []int64
}

var _ Planner = (*Spill)(nil)

// String states the settings.
func (s *Spill) String() string {
	return fmt.Sprintf("spill(ceiling %d%%, threshold %d%%, from %d rows)", cmp.Or(s.Ceiling, 100), s.Threshold, cmp.Or(s.MinRows, 1024))
}

// Plan is described at [Planner].
func (s *Spill) Plan(p *Problem) alltoall.Allocation {
	d := &s.draft
	if !d.begin(p) {
		return nil
	}
	all, ranks := d.allRows(), int64(len(d.Rows))
	if 100*ranks*slices.Max(d.Rows) < int64(s.Threshold)*all {
		return nil
	}
	s.spread = append(s.spread[:0], d.Rows...)
	ceiling := ceilDiv(int64(cmp.Or(s.Ceiling, 100))*all, 100*ranks)
	d.ranked = d.ranked[:0]
	for e := range d.home {
		d.ranked = append(d.ranked, int32(e))
	}
	for _, e := range d.mostFirst() {
		s.spill(int(e), ceiling)
	}
	d.divide(homeFirst)
	return d.result()
}

// spill gives the rows of an expert for which its home has no room to others.
func (s *Spill) spill(e int, ceiling int64) {
	home := s.draft.home[e]
	rest := min(s.spread[home]-ceiling, s.draft.total[e])
	for rest > 0 {
		to := s.least(e)
		if to < 0 {
			return
		}
		rows := min(rest, ceiling-s.spread[to])
		if rows <= 0 || rows < rest && rows < int64(cmp.Or(s.MinRows, 1024)) {
			return // others have no more room
		}
		s.draft.give(e, to, rows)
		s.spread[to] += rows
		s.spread[home] -= rows
		rest -= rows
	}
}

// least is the rank with the fewest rows that takes a piece of e, the lowest of equal ones, or −1.
func (s *Spill) least(e int) int {
	least := -1
	for r, rows := range s.spread {
		if (least < 0 || rows < s.spread[least]) && s.draft.takes(r, e) {
			least = r
		}
	}
	return least
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
