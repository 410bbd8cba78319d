package alltoall

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/rows"
)

// Dispatch moves the rows of a chunk to their experts. It returns the rows that came for the
// experts computed here, in the order that the request's Cut states, and where they end: an entry
// for each expert of the chunk and leaf of all ranks, or if cut by ranks for each rank of the
// chunk, expert and leaf of that rank, counted from the chunk's first row.
//
// It is a message to each other rank that gets rows of the chunk, or in the first chunk to each if
// [Config.Allocates].
func (h *Handle) Dispatch(ctx context.Context, chunk int) (m blas32.General, ends []int, err error) {
	if err := h.mayDispatch(chunk); err != nil {
		return blas32.General{}, nil, err
	}
	before := len(h.plan.Ends)
	if err := h.ended(h.dispatchRound(ctx, chunk)); err != nil {
		return blas32.General{}, nil, err
	}
	if h.dispatched++; h.dispatched == h.Chunks() {
		h.dropSource()
	}
	first, n := h.arrivingRows(chunk)
	if first == 0 {
		ends = h.plan.Ends[before:]
	} else {
		for _, end := range h.plan.Ends[before:] {
			ends = append(ends, end-first)
		}
	}
	return mat.Rows(h.in, first, first+n), ends, nil
}

// dispatchRound sends each other rank one message with the rows for its experts of a chunk.
//
// A row has 4·dim bytes, and travels unless its expert is here; and there are 4 for each of those
// experts and the sender's leaves, unless every rank knows the loads of all.
func (h *Handle) dispatchRound(ctx context.Context, chunk int) error {
	x := h.x
	h.begin()
	defer x.round.end()
	x.round.fault = h.unwritten
	x.round.dedup = true
	x.round.digests, x.round.digest = h.introduces(chunk), h.digest
	splits := x.emptySplits(x.size())
	if !x.allocates {
		splits[x.rank()] = h.ownSplits(chunk)
	}
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		h.sendRows(r, chunk)
		splits[r] = h.expectRows(r, chunk)
	}
	h.keepRows(chunk)
	if err := x.run(ctx, "dispatch"); err != nil {
		return err
	}
	if x.allocates {
		h.endsOfLoads(chunk)
		return nil
	}
	return h.readEnds(chunk, splits)
}

// ownSplits is what this rank says to itself of the leaves of a chunk.
func (h *Handle) ownSplits(chunk int) []byte {
	return h.x.encodeSplits(h.counts.ofExperts(h.leaving(h.x.rank(), chunk)))
}

// sendRows sends the rows of a chunk that go to rank r, after their division into leaves.
func (h *Handle) sendRows(r, chunk int) {
	x := h.x
	if h.leavingTo(r, chunk) == 0 && !h.introduces(chunk) {
		return
	}
	begun := len(x.round.bufs)
	prefix := h.introduction(chunk)
	if !x.allocates {
		prefix = x.encodeSplits(h.counts.ofExperts(h.leaving(r, chunk)))
	}
	x.round.bufs = append(x.round.bufs, prefix)
	h.listAll(r, chunk)
	x.send(r, x.round.list(begun))
}

// listAll lists the rows of a chunk that go to rank r.
func (h *Handle) listAll(r, chunk int) {
	var s Segment
	for at, end := h.leaving(r, chunk); at < end; {
		s, at = h.together(at, end)
		h.listSource(r, s.First, s.Rows)
	}
}

// expectRows receives the rows of a chunk that come from rank s, and returns room for what it says
// of its leaves, or nil if nothing comes.
func (h *Handle) expectRows(s, chunk int) []byte {
	x := h.x
	if h.arrivingFrom(s, chunk) == 0 && !h.introduces(chunk) {
		return nil
	}
	splits := h.introduction(chunk)
	if !x.allocates {
		begin, end := h.arriving(s, chunk)
		splits = x.round.takeBytes(4 * (end - begin) * h.plan.Leaves[s])
	}
	begun := len(x.round.bufs)
	x.round.bufs = append(x.round.bufs, splits)
	h.expectSegments(&x.wires.to(s).dispatch, h.in, s, chunk)
	x.recv(s, x.round.list(begun))
	return splits
}

// keepRows copies the rows of a chunk that stay here.
func (h *Handle) keepRows(chunk int) {
	x := h.x
	begun := len(x.round.bufs)
	h.listAll(x.rank(), chunk)
	own := x.round.list(begun)
	begun = len(x.round.bufs)
	h.expectSegments(&x.wires.to(x.rank()).dispatch, h.in, x.rank(), chunk)
	rows.CopyAll(x.round.list(begun), own)
}

// readEnds appends to the plan where the rows of a chunk end, leaf by leaf.
func (h *Handle) readEnds(chunk int, splits [][]byte) error {
	x, me := h.x, h.receiver(h.x.rank())
	x.counts = x.counts[:0]
	for s := range splits {
		c, err := h.readSplits(s, chunk, splits[s])
		if err != nil {
			return err
		}
		x.counts = append(x.counts, c)
	}
	begin, end := h.cut.span(me, chunk)
	for i := begin; i < end; i++ {
		e, s := h.cut.segment(me, i)
		first, _ := h.arriving(s, chunk)
		row := h.plan.Segment(e, s).First
		for _, n := range x.counts[s].ofExperts(e-first, e-first+1) {
			row += n
			h.plan.Ends = append(h.plan.Ends, row)
		}
	}
	return nil
}

// readSplits reads what rank s says of its leaves in a chunk.
func (h *Handle) readSplits(s, chunk int, splits []byte) (Counts, error) {
	p := &h.plan
	begin, end := h.arriving(s, chunk)
	a := announcement{tokens: p.Tokens[s], padding: p.Padding[s], leaves: p.Leaves[s], rows: h.x.round.takeInts(end - begin)}
	for e := range a.rows {
		a.rows[e] = p.Segment(begin+e, s).Rows
	}
	return h.x.decodeSplits(s, a, splits)
}

// expectSegments lists where in m the rows of rank s for the experts of a chunk go.
func (h *Handle) expectSegments(l *leg, m blas32.General, s, chunk int) {
	begin, end := h.arriving(s, chunk)
	for e := begin; e < end; e++ {
		segment := h.plan.Segment(e, s)
		h.x.expect(l, s, m, segment.First, segment.Rows)
	}
}

// emptySplits returns room for what each rank says of its leaves.
func (x *Exchange) emptySplits(ranks int) [][]byte {
	begun := len(x.round.bufs)
	for range ranks {
		x.round.bufs = append(x.round.bufs, nil)
	}
	return x.round.list(begun)
}
