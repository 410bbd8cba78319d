package alltoall

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Counts says how many rows a rank sends to each expert, by leaf: a leaf is a group of consecutive
// tokens whose gradient is summed separately.
type Counts struct {
	// Tokens is the number of tokens that the rows come from, and Padding how many of them are
	// padding. No expert gets more rows than there are other tokens, unless [Config.LeafRows] says
	// so.
	Tokens, Padding int
	// Leaves is the number of leaves of the tokens.
	Leaves int
	// Rows holds Experts × Leaves numbers, expert by expert.
	Rows []int
}

// ofExperts returns the part of c.Rows that concerns experts begin to end.
func (c Counts) ofExperts(begin, end int) []int { return c.Rows[begin*c.Leaves : end*c.Leaves] }

// Plan is one exchange of rows as one rank sees it, in plain data. Rows leave sorted by expert, so
// those for one rank follow each other. They arrive sorted by expert, then by the rank that sent
// them: that is the order of the tokens in the global batch, for any number of ranks. [ByRanks] has
// another order.
//
// If experts are shared out the rows of each run arrive behind those of the experts hosted here, as
// those of an expert more; and a hosted expert that is shared out has no others.
type Plan struct {
	// Rank is the rank whose view this is.
	Rank int
	// Experts is the number of experts computed here: those hosted here, and then the runs.
	Experts int
	// Runs are those that this rank computes, of experts that are shared out.
	Runs []Run
	// Sent is the number of rows that go to each rank, itself included.
	Sent []int
	// Tokens, Padding and Leaves are each rank's, in rank order.
	Tokens, Padding, Leaves []int
	// Routes says where the rows go that leave here, in their order, if any expert is shared out.
	Routes []Route
	// Segments[e*ranks+s] is the rows of rank s for the e-th expert computed here.
	Segments []Segment
	// Ends are where the rows of each leaf end, in the order in which rows arrive: if that is by
	// expert, entry e*TotalLeaves()+l is the end of the rows of expert e in leaf l.
	Ends []int
}

// Segment is rows that follow each other.
type Segment struct{ First, Rows int }

// Route is rows that go to a rank.
type Route struct {
	Segment
	Rank int
}

// Ranks is the number of ranks that take part.
func (p *Plan) Ranks() int { return len(p.Sent) }

// Received is the number of rows that arrive here.
func (p *Plan) Received() (rows int) {
	for _, s := range p.Segments {
		rows += s.Rows
	}
	return rows
}

// SentRows is the number of rows that leave here, those that stay included.
func (p *Plan) SentRows() int { return mat.Sum(p.Sent) }

// FirstLeaf is the number of this rank's first leaf among those of all ranks.
func (p *Plan) FirstLeaf() int { return mat.Sum(p.Leaves[:p.Rank]) }

// TotalLeaves is the number of leaves of all ranks.
func (p *Plan) TotalLeaves() int { return mat.Sum(p.Leaves) }

// Segment returns the rows of rank s for the e-th expert computed here.
func (p *Plan) Segment(e, s int) Segment { return p.Segments[e*p.Ranks()+s] }

// Sender is the rank that sent a row, of those that arrive.
func (p *Plan) Sender(row int) int {
	return slices.IndexFunc(p.Segments, func(s Segment) bool {
		return s.First <= row && row < s.First+s.Rows
	}) % p.Ranks()
}

// Host is the rank that gets a row, of those that leave.
func (p *Plan) Host(row int) (r int) {
	if len(p.Routes) > 0 {
		after := func(route Route, row int) int { return cmp.Compare(route.First+route.Rows, row+1) }
		i, _ := slices.BinarySearchFunc(p.Routes, row, after)
		return p.Routes[i].Rank
	}
	for end := p.Sent[0]; end <= row; end += p.Sent[r] {
		r++
	}
	return r
}

// NewPlan makes the plan of a rank. sent is the number of rows that it sends to each rank; from[s]
// is what rank s sends here: counts for the experts hosted here alone.
func NewPlan(rank int, place Placement, sent []int, from []Counts) *Plan {
	p := new(Plan)
	p.fill(rank, place, sent, from)
	return p
}

// fill makes p that plan, in the memory that it has.
func (p *Plan) fill(rank int, place Placement, sent []int, from []Counts) {
	p.Rank, p.Experts, p.Sent, p.Runs, p.Routes = rank, place.Count(rank), sent, nil, nil
	p.Tokens, p.Padding, p.Leaves = p.Tokens[:0], p.Padding[:0], p.Leaves[:0]
	for _, c := range from {
		p.Tokens = append(p.Tokens, c.Tokens)
		p.Padding = append(p.Padding, c.Padding)
		p.Leaves = append(p.Leaves, c.Leaves)
	}
	p.Segments, p.Ends = p.Segments[:0], p.Ends[:0]
	row := 0
	for e := range p.Experts {
		for _, c := range from {
			first := row
			for _, n := range c.ofExperts(e, e+1) {
				row += n
				p.Ends = append(p.Ends, row)
			}
			p.Segments = append(p.Segments, Segment{First: first, Rows: row - first})
		}
	}
}

// String draws the plan as a small table.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rank %d of %d: sends %v, receives %d rows in %d leaves\n", p.Rank, p.Ranks(), p.Sent, p.Received(), p.TotalLeaves())
	for e := range p.Experts {
		if run := e - (p.Experts - len(p.Runs)); run >= 0 {
			r := p.Runs[run]
			fmt.Fprintf(&b, "  leaves %d to %d of expert %d:", r.First, r.End, r.Expert)
		} else {
			fmt.Fprintf(&b, "  expert +%d:", e)
		}
		for s := range p.Ranks() {
			seg := p.Segment(e, s)
			fmt.Fprintf(&b, " [%d,%d) from %d", seg.First, seg.First+seg.Rows, s)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
