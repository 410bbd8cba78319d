package experts

import "github.com/switchyard-moe/switchyard/internal/mat"

// piece is the rows of a chunk that a group computes in one call: the rows of all ranks, or of one
// if chunks are cut by ranks. The pieces of a chunk follow each other as its rows do.
type piece struct {
	group *group
	// saved is the element of Pass.saved that is the group's for these rows.
	saved int
	// firstLeaf is the number of the first leaf of the rows, and leaves the number of their leaves.
	firstLeaf, leaves int
	// first is the first of the rows, of all that came to this rank, and rows their number.
	first, rows int
}

// pieces lists the pieces of a chunk, in memory that the next call uses again.
func (s *Stage) pieces(p *Pass, chunk int) []piece {
	s.list = s.list[:0]
	if s.byRanks {
		s.ofRanks(p, chunk)
	} else {
		s.ofGroups(p, chunk)
	}
	return s.list
}

// ofGroups lists a piece for each group of a chunk. A group without experts is in the first chunk.
func (s *Stage) ofGroups(p *Pass, chunk int) {
	c, plan := p.chunks.Chunk(chunk), p.chunks.Plan()
	for i := range s.groups {
		g := &s.groups[i]
		if g.first < c.FirstExpert || g.first+g.count > c.EndExpert || g.count == 0 && chunk > 0 {
			continue
		}
		of := piece{group: g, saved: i, firstLeaf: p.firstLeaf, leaves: plan.TotalLeaves()}
		if g.count > 0 {
			of.first = plan.Segment(g.first, 0).First
		}
		for e := g.first; e < g.first+g.count; e++ {
			for r := range plan.Ranks() {
				of.rows += plan.Segment(e, r).Rows
			}
		}
		s.list = append(s.list, of)
	}
}

// ofRanks lists a piece for each rank of a chunk that has any tokens.
func (s *Stage) ofRanks(p *Pass, chunk int) {
	plan, g := p.chunks.Plan(), &s.groups[0]
	for _, r := range p.chunks.Chunk(chunk).Ranks {
		if plan.Leaves[r] == 0 {
			continue
		}
		of := piece{group: g, saved: r, firstLeaf: p.firstLeaf + mat.Sum(plan.Leaves[:r]), leaves: plan.Leaves[r]}
		if g.count > 0 {
			of.first = plan.Segment(0, r).First
		}
		for e := range g.count {
			of.rows += plan.Segment(e, r).Rows
		}
		s.list = append(s.list, of)
	}
}
