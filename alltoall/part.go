package alltoall

import (
	"context"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"
)

// A dispatch can be cut into parts, so that experts compute on one while another travels: each rank's experts are cut into as many runs,
// as even as can be, and a part is the rows for one run of every rank. Every row is in one part, every part is a run of rows on the
// sender's side for each rank, and a run of all rows on the receiver's. Nothing is computed otherwise than in one part, so the bits are
// the same.
//
// Where ranks have fewer experts than parts, peers can be cut instead: a part is then the rows of some ranks, for all experts here, and the first
// has this rank's own. Every rank begins with its next ones, so that links are as busy in each part. There are no more messages than in one.

// Begin begins a dispatch in parts: rows are tokens' as in [Exchange.DispatchTokens], or where token is nil as they are in rows. It tells
// the other ranks how many will come. All ranks give the same number of parts, at least 1. rows and token must stay as they are until the
// last part has been dispatched.
func (x *Exchange) Begin(ctx context.Context, c Counts, rows blas32.General, token []int32, parts int) (*Handle, error) {
	if parts < 1 {
		panic(fmt.Sprintf("alltoall: Begin: %d parts", parts))
	}
	return x.start(ctx, c, source{m: rows, token: token}, parts, false)
}

// BeginByPeers is Begin with parts cut by the ranks that rows come from: rows arrive sorted by those, from this one on, then by expert, and
// DispatchPart's ends have an entry for each rank of the part, expert and leaf of that rank. Parts beyond the number of ranks are empty.
func (x *Exchange) BeginByPeers(ctx context.Context, c Counts, rows blas32.General, token []int32, parts int) (*Handle, error) {
	if parts < 1 {
		panic(fmt.Sprintf("alltoall: BeginByPeers: %d parts", parts))
	}
	return x.start(ctx, c, source{m: rows, token: token}, parts, true)
}

// Peers returns the ranks that a part's rows come from, in the order in which they arrive; nil where parts are cut by experts, as then it is all.
func (h *Handle) Peers(part int) (peers []int) {
	if !h.byPeers {
		return nil
	}
	begin, end := cut(h.x.size(), part, h.parts)
	for o := begin; o < end; o++ {
		peers = append(peers, h.x.next(o))
	}
	return peers
}

// takesFrom tells whether rows of rank s arrive in a part.
func (h *Handle) takesFrom(s, part int) bool { return h.inPart(s-h.x.rank(), part) }

// sendsTo tells whether rows for rank r leave in a part.
func (h *Handle) sendsTo(r, part int) bool { return h.inPart(h.x.rank()-r, part) }

// inPart tells whether a sender so many ranks on from the receiver is in a part.
func (h *Handle) inPart(ahead, part int) bool {
	n := h.x.size()
	begin, end := cut(n, part, h.parts)
	ahead = (ahead + n) % n
	return !h.byPeers || begin <= ahead && ahead < end
}

// Recut cuts what follows, once all of the first dispatch has moved, into another number of parts, the same on all ranks.
func (h *Handle) Recut(parts int) {
	if parts < 1 {
		panic(fmt.Sprintf("alltoall: Recut: %d parts", parts))
	}
	h.parts = parts
}

// Parts is the number of parts of the dispatch.
func (h *Handle) Parts() int { return h.parts }

// Experts returns which of the experts hosted here are in a part.
func (h *Handle) Experts(part int) (begin, end int) { return h.partOf(part) }

// DispatchPart moves the rows of a part; parts go in order, once each. It returns the rows that came for the part's experts, which belong to
// the handle until Release, and where they end: an entry for each expert of the part and leaf of all ranks, counted from the
// part's first row.
func (h *Handle) DispatchPart(ctx context.Context, part int) (rows blas32.General, ends []int, err error) {
	before := len(h.plan.Ends)
	if err := h.dispatchPart(ctx, part); err != nil {
		return blas32.General{}, nil, err
	}
	if part == h.parts-1 {
		h.dropSource()
	}
	first, n := h.rowsIn(part)
	if first == 0 {
		ends = h.plan.Ends[before:]
	} else {
		for _, end := range h.plan.Ends[before:] {
			ends = append(ends, end-first)
		}
	}
	return h.sub(h.in, first, n), ends, nil
}

// Arrival returns a matrix for what RedispatchPart brings, until Release.
func (h *Handle) Arrival() blas32.General {
	return h.lend(h.x.pool.matrix(h.plan.Received(), h.x.dim))
}

// RedispatchPart sends a part of m, rows as they were dispatched first, and returns those of in that came.
func (h *Handle) RedispatchPart(ctx context.Context, part int, m, in blas32.General) (blas32.General, error) {
	h.x.checkRows("RedispatchPart", m, h.plan.SentRows())
	h.x.checkRows("RedispatchPart", in, h.plan.Received())
	first, n := h.rowsIn(part)
	return h.sub(in, first, n), h.redispatchPart(ctx, part, h.alone(m, in))
}

// Home returns a matrix for what CombinePart brings home, until Release.
func (h *Handle) Home() blas32.General {
	return h.lend(h.x.pool.matrix(h.plan.SentRows(), h.x.dim))
}

// CombinePart sends the answers to a part's rows back to where those came from, and receives in home what comes back of the part. The answers
// may be cut into several matrices between the rows of one expert and those of the next.
func (h *Handle) CombinePart(ctx context.Context, part int, home blas32.General, answers ...blas32.General) error {
	_, n := h.rowsIn(part)
	got := 0
	for _, m := range answers {
		h.x.checkRows("CombinePart", m, m.Rows)
		got += m.Rows
	}
	if got != n {
		panic(fmt.Sprintf("alltoall: CombinePart: %d rows, want %d", got, n))
	}
	h.x.checkRows("CombinePart", home, h.plan.SentRows())
	return h.combinePart(ctx, part, h.listOf(answers, home))
}

// partOf returns the range of a part among the experts hosted here.
func (h *Handle) partOf(part int) (begin, end int) {
	if h.byPeers {
		return 0, h.plan.Experts
	}
	return cut(h.plan.Experts, part, h.parts)
}

// cut returns the part-th of so many even runs of n.
func cut(n, part, parts int) (begin, end int) { return n * part / parts, n * (part + 1) / parts }

// expertsOf returns the range of a part among all experts, on rank r.
func (h *Handle) expertsOf(r, part int) (begin, end int) {
	first, last := h.x.place.Of(r)
	if h.byPeers {
		if !h.sendsTo(r, part) {
			last = first
		}
		return first, last
	}
	begin, end = cut(last-first, part, h.parts)
	return first + begin, first + end
}

// sentBefore is how many of this rank's rows stand before those of expert e of rank r.
func (h *Handle) sentBefore(r, e int) int {
	first, _ := h.x.place.Of(r)
	return sum(h.plan.Sent[:r]) + sum(h.counts.ofExperts(first, e))
}

// segmentsIn is the plan's segments of a part's experts.
func (h *Handle) segmentsIn(part int) []Segment {
	begin, end := h.partOf(part)
	return h.plan.Segments[begin*h.plan.Ranks() : end*h.plan.Ranks()]
}

// rowsIn is the run of the rows that arrive in a part.
func (h *Handle) rowsIn(part int) (first, n int) {
	if h.byPeers {
		begin, end := cut(h.x.size(), part, h.parts)
		for o := range end {
			if rows := h.plan.from(h.x.next(o)); o < begin {
				first += rows
			} else {
				n += rows
			}
		}
		return first, n
	}
	segments := h.segmentsIn(part)
	if len(segments) == 0 {
		return 0, 0
	}
	last := segments[len(segments)-1]
	return segments[0].First, last.First + last.Rows - segments[0].First
}

// arriving is how many rows of rank s arrive in a part.
func (h *Handle) arriving(part, s int) (n int) {
	if !h.takesFrom(s, part) {
		return 0
	}
	segments := h.segmentsIn(part)
	for i := s; i < len(segments); i += h.plan.Ranks() {
		n += segments[i].Rows
	}
	return n
}

// sub is rows [first, first+n) of m.
func (h *Handle) sub(m blas32.General, first, n int) blas32.General {
	return blas32.General{Rows: n, Cols: m.Cols, Stride: m.Stride, Data: m.Data[first*m.Stride : (first+n)*m.Stride]}
}

// dropSource gives back what the first dispatch read.
func (h *Handle) dropSource() {
	h.x.pool.put(h.packed)
	h.raw, h.src, h.packed = source{}, source{}, nil
}
