package alltoall

// Part is rows of a chunk that follow each other and are sorted by expert.
type Part struct {
	// First is the number of the first row among all that leave or arrive here, and Rows how many
	// there are.
	First, Rows int
	// Expert is the first expert that they are for, among all experts. The rows of expert Expert+i
	// end before row Ends[i] of the part.
	Expert int
	Ends   []int
}

// Leaving lists the rows of a chunk of this trip that leave here, those that stay included, as
// those of Combine's result: a part for each rank that gets any, by rank, or more if experts are
// shared out.
func (h *Handle) Leaving(chunk int) (parts []Part) {
	for r := range h.x.size() {
		begun := len(parts)
		begin, end := h.leaving(r, chunk)
		for c := begin; c < end; c++ {
			parts = addPart(parts, begun, h.expert(c), h.out[c].First, h.out[c].Rows)
		}
	}
	return withRows(parts)
}

// Arriving lists the rows of a chunk of this trip that arrive here, in their order: one part, or if
// the exchange is cut by ranks one for each rank that sends any, or more if experts are shared out.
func (h *Handle) Arriving(chunk int) (parts []Part) {
	c, p := h.Chunk(chunk), &h.plan
	before, _ := h.place.Of(p.Rank)
	if c.Ranks == nil {
		for e := c.FirstExpert; e < c.EndExpert; e++ {
			rows := 0
			for r := range p.Ranks() {
				rows += p.Segment(e, r).Rows
			}
			parts = addPart(parts, 0, h.expert(before+e), p.Segment(e, 0).First, rows)
		}
	}
	for _, r := range c.Ranks {
		begun := len(parts)
		for e := range p.Experts {
			s := p.Segment(e, r)
			parts = addPart(parts, begun, h.expert(before+e), s.First, s.Rows)
		}
	}
	return withRows(parts)
}

// addPart appends rows of an expert to the last part, if it is not before number begun and they
// follow its own, or else as a part of their own.
func addPart(parts []Part, begun, expert, first, rows int) []Part {
	if last := len(parts) - 1; last >= begun {
		p := &parts[last]
		if p.Rows == 0 {
			p.First = first
		}
		if expert == p.Expert+len(p.Ends) && (rows == 0 || first == p.First+p.Rows) {
			p.Rows += rows
			p.Ends = append(p.Ends, p.Rows)
			return parts
		}
	}
	return append(parts, Part{First: first, Rows: rows, Expert: expert, Ends: []int{rows}})
}

// withRows drops the parts that have no rows.
func withRows(parts []Part) []Part {
	kept := parts[:0]
	for _, p := range parts {
		if p.Rows > 0 {
			kept = append(kept, p)
		}
	}
	return kept
}
