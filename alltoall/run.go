package alltoall

import "github.com/switchyard-moe/switchyard/internal/mat"

// Run is rows of a chunk that follow each other and are sorted by expert.
type Run struct {
	// First is the number of the first row among all that leave or arrive here, and Rows how many
	// there are.
	First, Rows int
	// Expert is the first expert that they are for, among all experts. The rows of expert Expert+i
	// end before row Ends[i] of the run.
	Expert int
	Ends   []int
}

// Leaving lists the rows of a chunk of this trip that leave here, those that stay included, as
// those of Combine's result: a run for each rank that gets any, by rank.
func (h *Handle) Leaving(chunk int) (runs []Run) {
	for r := range h.x.size() {
		first, n := h.leavingRows(r, chunk)
		if n == 0 {
			continue
		}
		begin, end := h.leaving(r, chunk)
		run := Run{First: first, Rows: n, Expert: begin}
		run.end(end-begin, func(e int) int { return mat.Sum(h.counts.ofExperts(begin+e, begin+e+1)) })
		runs = append(runs, run)
	}
	return runs
}

// Arriving lists the rows of a chunk of this trip that arrive here, in their order: one run, or if
// the exchange is cut by ranks one for each rank that sends any.
func (h *Handle) Arriving(chunk int) (runs []Run) {
	c, p := h.Chunk(chunk), &h.plan
	before, _ := h.x.placement.Of(p.Rank)
	if c.Ranks == nil {
		run := Run{Expert: before + c.FirstExpert}
		run.First, run.Rows = h.arrivingRows(chunk)
		run.end(c.EndExpert-c.FirstExpert, func(e int) (n int) {
			for r := range p.Ranks() {
				n += p.Segment(c.FirstExpert+e, r).Rows
			}
			return n
		})
		runs = append(runs, run)
	}
	for _, r := range c.Ranks {
		if p.Experts == 0 {
			break
		}
		run := Run{First: p.Segment(0, r).First, Expert: before}
		run.end(p.Experts, func(e int) int { return p.Segment(e, r).Rows })
		run.Rows = run.Ends[p.Experts-1]
		runs = append(runs, run)
	}
	return withRows(runs)
}

// end sets where the rows of each expert end.
func (r *Run) end(experts int, rows func(e int) int) {
	r.Ends = make([]int, experts)
	row := 0
	for e := range r.Ends {
		row += rows(e)
		r.Ends[e] = row
	}
}

// withRows drops the runs that have none.
func withRows(runs []Run) []Run {
	kept := runs[:0]
	for _, r := range runs {
		if r.Rows > 0 {
			kept = append(kept, r)
		}
	}
	return kept
}
