package alltoall

import (
	"cmp"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// computed are the experts that ranks compute in an exchange, numbered rank by rank: those that a
// rank hosts, and then its runs. Without an [Allocation] they are the experts.
type computed struct {
	place Placement // of the computed experts
	// of is what each of them is: a hosted expert has all leaves, or none if it is shared out. It is
	// empty if there are no runs.
	of []Run
	// out is this rank's rows for each of them, among all that leave.
	out []Segment
	// rows are those of all ranks for each of them. It is empty if there are no runs.
	rows   []int64
	first  []int // memory of place
	next   []int // scratch, of each rank
	starts []int // scratch, of each expert
}

// hosted makes c that of experts that their homes compute, of which this rank has these rows.
func (c *computed) hosted(place Placement, counts Counts) {
	c.place, c.of, c.rows, c.out = place, c.of[:0], c.rows[:0], c.out[:0]
	row := 0
	for e := range place.Experts() {
		n := mat.Sum(counts.ofExperts(e, e+1))
		c.out = append(c.out, Segment{First: row, Rows: n})
		row += n
	}
}

// share makes c, which is that of hosted experts, the one of an allocation, which is not empty.
// before is the number of the leaves of the ranks before this one.
func (c *computed) share(a Allocation, l *Loads, counts Counts, before int) {
	c.number(a, l)
	c.starts = c.starts[:0]
	for _, s := range c.out {
		c.starts = append(c.starts, s.First)
	}
	c.out, c.rows = c.out[:0], c.rows[:0]
	for _, r := range c.of {
		rows := counts.ofExperts(r.Expert, r.Expert+1)
		first := min(max(r.First-before, 0), counts.Leaves)
		end := min(max(r.End-before, first), counts.Leaves)
		c.out = append(c.out, Segment{First: c.starts[r.Expert] + mat.Sum(rows[:first]), Rows: mat.Sum(rows[first:end])})
		c.rows = append(c.rows, l.Of(r.Expert, r.First, r.End))
	}
}

// number gives each run its place behind the experts of its rank.
func (c *computed) number(a Allocation, l *Loads) {
	p := l.Placement
	c.next = cleared(c.next, p.Ranks())
	for _, r := range a {
		c.next[r.Rank]++
	}
	c.first = append(c.first[:0], 0)
	for r, runs := range c.next {
		c.first = append(c.first, c.first[r]+p.Count(r)+runs)
	}
	c.place = Placement{First: c.first}
	c.of = slices.Grow(c.of[:0], c.place.Experts())[:c.place.Experts()]
	leaves := l.TotalLeaves()
	for r := range c.next {
		begin, end := p.Of(r)
		for e := begin; e < end; e++ {
			c.of[c.first[r]+e-begin] = Run{Expert: e, Rank: r, End: leaves}
		}
		c.next[r] = c.first[r] + end - begin
	}
	for _, r := range a {
		home := p.Home(r.Expert)
		c.of[c.first[home]+r.Expert-p.First[home]].End = 0
		c.of[c.next[r.Rank]] = r
		c.next[r.Rank]++
	}
}

// expert is the expert that the i-th computed one is of.
func (c *computed) expert(i int) int {
	if len(c.of) == 0 {
		return i
	}
	return c.of[i].Expert
}

// runsOf are the runs among what rank r computes, if it hosts that many experts.
func (c *computed) runsOf(r, hosts int) []Run {
	if len(c.of) == 0 {
		return nil
	}
	begin, end := c.place.Of(r)
	return c.of[begin+hosts : end]
}

// sent is the number of this rank's rows that go to rank r.
func (c *computed) sent(r int) (rows int) {
	begin, end := c.place.Of(r)
	for _, s := range c.out[begin:end] {
		rows += s.Rows
	}
	return rows
}

// together is this rank's rows for the computed experts [begin, next) that follow each other among
// those that leave. next is at most end.
func (c *computed) together(begin, end int) (s Segment, next int) {
	s = c.out[begin]
	for next = begin + 1; next < end; next++ {
		n := c.out[next]
		if s.Rows == 0 {
			s.First = n.First
		}
		if n.Rows > 0 && n.First != s.First+s.Rows {
			break
		}
		s.Rows += n.Rows
	}
	return s, next
}

// routes appends where this rank's rows go to list, in their order, if there are runs.
func (c *computed) routes(list []Route) []Route {
	if len(c.of) == 0 {
		return list
	}
	for i, s := range c.out {
		if s.Rows > 0 {
			list = append(list, Route{Segment: s, Rank: c.of[i].Rank})
		}
	}
	slices.SortFunc(list, func(a, b Route) int { return cmp.Compare(a.First, b.First) })
	return list
}
