package experts

import (
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// piece is the rows of a chunk that a group computes in one call: the rows of all ranks, or of one
// if chunks are cut by ranks. The pieces of a chunk follow each other as its rows do.
type piece struct {
	group *group
	// run is what a slot computes, nil for experts hosted here.
	run *Run
	// saved is the element of Pass.saved that is the group's for these rows.
	saved int
	// firstLeaf is the number of the first leaf of the rows, and leaves the number of their leaves.
	firstLeaf, leaves int
	// ends is the number of the first of their ends among those of the chunk.
	ends int
	// first is the first of the rows, of all that came to this rank, at the first of those of the
	// chunk, and rows their number.
	first, at, rows int
	// number is that of the piece in the chunk.
	number int
}

// pieces lists the pieces of a chunk, in memory that the next call uses again.
func (s *Stage) pieces(p *Pass, chunk int) []piece {
	s.list = s.list[:0]
	if s.byRanks {
		s.ofRanks(p, chunk)
	} else {
		s.ofGroups(p, chunk)
	}
	at := 0
	for i := range s.list {
		s.list[i].number, s.list[i].at = i, at
		at += s.list[i].rows
	}
	return s.list
}

// ofGroups lists a piece for each group of a chunk, and then for each run. A group without experts
// is in the first chunk.
func (s *Stage) ofGroups(p *Pass, chunk int) {
	c, plan := p.chunks.Chunk(chunk), p.chunks.Plan()
	leaves, ends := plan.TotalLeaves(), 0
	for i := range s.groups {
		g := &s.groups[i]
		if g.first < c.FirstExpert || g.first+g.count > c.EndExpert || g.count == 0 && chunk > 0 {
			continue
		}
		of := piece{group: g, saved: i, firstLeaf: p.firstLeaf, leaves: leaves, ends: ends}
		of.first, of.rows = rowsOf(plan, g.first, g.first+g.count)
		s.list = append(s.list, of)
		ends += g.count * leaves
	}
	for i := range p.runs {
		e := s.hosted + i
		if e < c.FirstExpert || e >= c.EndExpert {
			continue
		}
		run := &p.runs[i]
		of := piece{
			group: p.slots[i], run: run, saved: len(s.groups) + i,
			firstLeaf: p.firstLeaf + run.First, leaves: run.End - run.First, ends: ends + run.First,
		}
		of.first, of.rows = rowsOf(plan, e, e+1)
		s.list = append(s.list, of)
		ends += leaves
	}
}

// rowsOf is the rows of all ranks for some of the experts that are computed here.
func rowsOf(plan *alltoall.Plan, begin, end int) (first, rows int) {
	if begin < end {
		first = plan.Segment(begin, 0).First
	}
	for e := begin; e < end; e++ {
		for r := range plan.Ranks() {
			rows += plan.Segment(e, r).Rows
		}
	}
	return first, rows
}

// ofRanks lists a piece for each rank of a chunk that has any tokens, and one for each run that has
// leaves of it.
func (s *Stage) ofRanks(p *Pass, chunk int) {
	plan, g, ends := p.chunks.Plan(), &s.groups[0], 0
	for _, r := range p.chunks.Chunk(chunk).Ranks {
		leaves := plan.Leaves[r]
		if leaves == 0 {
			continue
		}
		before := mat.Sum(plan.Leaves[:r])
		of := piece{group: g, saved: r, firstLeaf: p.firstLeaf + before, leaves: leaves, ends: ends}
		of.first, of.rows = rowsFrom(plan, 0, g.count, r)
		s.list = append(s.list, of)
		ends += g.count * leaves
		for i := range p.runs {
			run := &p.runs[i]
			if first, end := max(run.First, before), min(run.End, before+leaves); first < end {
				of := piece{
					group: p.slots[i], run: run, saved: plan.Ranks()*(1+i) + r,
					firstLeaf: p.firstLeaf + first, leaves: end - first, ends: ends + first - before,
				}
				of.first, of.rows = rowsFrom(plan, s.hosted+i, s.hosted+i+1, r)
				s.list = append(s.list, of)
			}
			ends += leaves
		}
	}
}

// rowsFrom is the rows of one rank for some of the experts that are computed here.
func rowsFrom(plan *alltoall.Plan, begin, end, rank int) (first, rows int) {
	if begin < end {
		first = plan.Segment(begin, rank).First
	}
	for e := begin; e < end; e++ {
		rows += plan.Segment(e, rank).Rows
	}
	return first, rows
}
