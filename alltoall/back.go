package alltoall

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/rows"
)

// Combine sends the answers to the rows of a chunk back to where those came from. The answers, rows
// in the order in which they arrived, may be in several matrices, divided between the rows of one
// expert or rank and those of the next. It returns a matrix for the answers to all of this rank's
// rows, in the order in which they were dispatched, with those of the chunks so far.
func (h *Handle) Combine(ctx context.Context, chunk int, answers ...blas32.General) (blas32.General, error) {
	if err := h.mayCombine(chunk); err != nil {
		return blas32.General{}, err
	}
	got, x := 0, h.x
	for _, m := range answers {
		if err := x.checkRows("combine", m, m.Rows); err != nil {
			return blas32.General{}, err
		}
		got += m.Rows
	}
	if _, n := h.arrivingRows(chunk); got != n {
		return blas32.General{}, x.misuse("combine", "%d answers, want %d", got, n)
	}
	if chunk == 0 {
		h.home = h.lend(x.pool.matrix(h.plan.SentRows(), x.dim))
	}
	if err := h.ended(h.combineRound(ctx, chunk, answers)); err != nil {
		return blas32.General{}, err
	}
	h.combined++
	return h.home, nil
}

// combineRound sends each other rank the answers of a chunk that are for it.
func (h *Handle) combineRound(ctx context.Context, chunk int, answers []blas32.General) error {
	x := h.x
	if err := x.checkFinite("combine", answers...); err != nil {
		return err
	}
	h.begin()
	defer x.round.end()
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		if out := h.offerAnswers(r, chunk, answers); len(out) > 0 {
			x.send(r, out)
		}
		if to := h.expectHome(r, chunk); len(to) > 0 {
			x.recv(r, to)
		}
	}
	own := h.offerAnswers(x.rank(), chunk, answers)
	rows.CopyAll(h.expectHome(x.rank(), chunk), own)
	return x.run(ctx, "combine")
}

// homeLeg is the one of what goes back to rank r, or comes back from it.
func (h *Handle) homeLeg(r int) *leg {
	if l := h.x.wires.to(r); h.back {
		return &l.combineBack
	} else {
		return &l.combine
	}
}

// offerAnswers lists the answers of a chunk that are for rank r.
func (h *Handle) offerAnswers(r, chunk int, answers []blas32.General) [][]byte {
	begun, l := len(h.x.round.bufs), h.homeLeg(r)
	base, _ := h.arrivingRows(chunk)
	begin, end := h.arriving(r, chunk)
	for e := begin; e < end; e++ {
		s := h.plan.Segment(e, r)
		for s.Rows > 0 && s.First-base >= answers[0].Rows {
			base += answers[0].Rows
			answers = answers[1:]
		}
		if s.Rows > 0 {
			h.x.offer(l, answers[0], s.First-base, s.Rows)
		}
	}
	return h.x.round.list(begun)
}

// expectHome lists where the answers of a chunk from rank r go.
func (h *Handle) expectHome(r, chunk int) [][]byte {
	begun, l := len(h.x.round.bufs), h.homeLeg(r)
	var s Segment
	for at, end := h.leaving(r, chunk); at < end; {
		s, at = h.together(at, end)
		h.x.expect(l, r, h.home, s.First, s.Rows)
	}
	return h.x.round.list(begun)
}

// DispatchBack sends, of this rank's rows m, sorted by expert as those that were dispatched first,
// those of a chunk: the gradients of what Combine returned, for one. It returns those that came.
// The caller gives the same m for all chunks.
func (h *Handle) DispatchBack(ctx context.Context, chunk int, m blas32.General) (blas32.General, error) {
	if err := h.mayDispatchBack(chunk); err != nil {
		return blas32.General{}, err
	}
	x := h.x
	if err := x.checkRows("dispatch back", m, h.plan.SentRows()); err != nil {
		return blas32.General{}, err
	}
	if chunk == 0 {
		h.restart()
		h.in = h.lend(x.pool.matrix(h.plan.Received(), x.dim))
	}
	if err := h.ended(h.dispatchBackRound(ctx, chunk, m)); err != nil {
		return blas32.General{}, err
	}
	h.dispatched++
	first, n := h.arrivingRows(chunk)
	return mat.Rows(h.in, first, first+n), nil
}

// dispatchBackRound sends each other rank the rows of a chunk that its experts got first.
func (h *Handle) dispatchBackRound(ctx context.Context, chunk int, m blas32.General) error {
	x := h.x
	if chunk == 0 { // all of it, since a chunk is not a run of rows on this side
		if err := x.checkFinite("dispatch", m); err != nil {
			return err
		}
	}
	h.begin()
	defer x.round.end()
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		if out := h.offerRows(r, chunk, m); len(out) > 0 {
			x.send(r, out)
		}
		if to := h.expectBack(r, chunk); len(to) > 0 {
			x.recv(r, to)
		}
	}
	own := h.offerRows(x.rank(), chunk, m)
	rows.CopyAll(h.expectBack(x.rank(), chunk), own)
	return x.run(ctx, "dispatch")
}

// offerRows lists the rows of m that go to rank r in a chunk.
func (h *Handle) offerRows(r, chunk int, m blas32.General) [][]byte {
	begun, l := len(h.x.round.bufs), &h.x.wires.to(r).dispatchBack
	var s Segment
	for at, end := h.leaving(r, chunk); at < end; {
		s, at = h.together(at, end)
		h.x.offer(l, m, s.First, s.Rows)
	}
	return h.x.round.list(begun)
}

// expectBack lists where the rows of a chunk from rank s go.
func (h *Handle) expectBack(s, chunk int) [][]byte {
	begun := len(h.x.round.bufs)
	h.expectSegments(&h.x.wires.to(s).dispatchBack, h.in, s, chunk)
	return h.x.round.list(begun)
}
