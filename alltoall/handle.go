package alltoall

import (
	"context"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/rows"
)

// Handle is one dispatch's plan, ready to be run again in either direction without exchanging counts. The
// matrices that its methods return belong to it, each until Release, and so does the plan.
type Handle struct {
	x    *Exchange
	plan Plan
	lent [][]float32
	live bool

	algorithm Algorithm // of all its rounds
	parts     int
	byPeers   bool   // parts are cut by ranks instead of experts
	counts    Counts // of this rank's rows, by expert and leaf
	raw       source // of the first dispatch, as it is given
	src       source // of the first dispatch, until all of it has left
	packed    []float32
	encoded   []byte // src in the dispatch's format, where that is not float32
	preparing sync.WaitGroup
	packing   func()         // pack, made once
	in        blas32.General // what the first dispatch brings
	back      bool           // it is the gradients' turn

	// Memory for what rounds move: one matrix, or the cuts of several.
	piece  [1]blas32.General
	single [1]tensor
	cuts   []blas32.General
	round  []tensor
}

// newHandle returns a handle in the memory of one that has been released, if there is any.
func (x *Exchange) newHandle() *Handle {
	last := len(x.spare) - 1
	if last < 0 {
		return &Handle{x: x, live: true}
	}
	h := x.spare[last]
	x.spare, h.live, h.back = x.spare[:last], true, false
	return h
}

// Plan returns the plan. The caller must not change it.
func (h *Handle) Plan() *Plan { return &h.plan }

// Algorithm is the one that this dispatch has taken, and all that follow with it take: never Auto.
func (h *Handle) Algorithm() Algorithm { return h.algorithm }

// Combine sends answers, the rows of the experts hosted here in the plan's order, back to where they came from, and
// returns this rank's rows in the order in which they were dispatched.
func (h *Handle) Combine(ctx context.Context, answers blas32.General) (blas32.General, error) {
	h.x.checkRows("Combine", answers, h.plan.Received())
	home := h.Home()
	return home, h.combineAll(ctx, h.alone(answers, home))
}

// CombineAll is Combine of several matrices that share one exchange: one message to each rank has all of them. Each is packed, with
// columns of its own.
func (h *Handle) CombineAll(ctx context.Context, answers ...blas32.General) ([]blas32.General, error) {
	list, homes := h.several("CombineAll", answers, h.plan.Received(), h.plan.SentRows())
	return homes, h.combineAll(ctx, list)
}

// Dispatch sends rows the way that the first dispatch went: the gradients of what Combine brought home, say.
func (h *Handle) Dispatch(ctx context.Context, m blas32.General) (blas32.General, error) {
	h.x.checkRows("Dispatch", m, h.plan.SentRows())
	in := h.Arrival()
	return in, h.dispatchAll(ctx, h.alone(m, in))
}

// DispatchAll is Dispatch of several matrices that share one exchange: one message to each rank has all of them. Each is packed, with
// columns of its own: rows and what belongs to them, say.
func (h *Handle) DispatchAll(ctx context.Context, rows ...blas32.General) ([]blas32.General, error) {
	list, ins := h.several("DispatchAll", rows, h.plan.SentRows(), h.plan.Received())
	return ins, h.dispatchAll(ctx, list)
}

// tensor is rows that travel in a round and where they go on the other side. It is one of those that share the round.
type tensor struct {
	pieces []blas32.General // cut between the rows of one expert and those of the next, where that is allowed
	to     blas32.General
}

// alone returns a list of one, in the handle's memory.
func (h *Handle) alone(m, to blas32.General) []tensor {
	h.piece[0] = m
	return h.listOf(h.piece[:], to)
}

// several returns a list of matrices, which have so many rows, and those that it makes for what they become on the other side.
func (h *Handle) several(op string, ms []blas32.General, rows, there int) (list []tensor, to []blas32.General) {
	for i, m := range ms {
		checkPacked(op, m, rows)
		to = append(to, h.lend(h.x.pool.matrix(there, m.Cols)))
		list = append(list, tensor{pieces: ms[i : i+1], to: to[i]})
	}
	return list, to
}

func (h *Handle) listOf(pieces []blas32.General, to blas32.General) []tensor {
	h.single[0] = tensor{pieces, to}
	return h.single[:]
}

func (h *Handle) combineAll(ctx context.Context, list []tensor) error {
	for part := range h.parts {
		first, n := h.rowsIn(part)
		for i := range list {
			h.cuts = append(h.cuts, h.sub(list[i].pieces[0], first, n))
		}
		for i := range list {
			h.round = append(h.round, tensor{h.cuts[i : i+1], list[i].to})
		}
		err := h.combinePart(ctx, part, h.round)
		h.forgetRound()
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *Handle) dispatchAll(ctx context.Context, list []tensor) error {
	for part := range h.parts {
		if err := h.redispatchPart(ctx, part, list); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handle) forgetRound() {
	clear(h.cuts)
	clear(h.round)
	h.cuts, h.round = h.cuts[:0], h.round[:0]
}

// combinePart sends a part's answers home.
func (h *Handle) combinePart(ctx context.Context, part int, list []tensor) error {
	x := h.x
	for _, t := range list {
		if err := x.checkFinite("combine", t.pieces...); err != nil {
			return err
		}
	}
	h.begin()
	defer x.round.end()
	f := x.wire.Combine
	if h.back {
		f = x.wire.CombineBack
	}
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		if out := h.offerAll(f, r, part, list); len(out) > 0 {
			x.send(r, out)
		}
		if to := h.expectHome(f, r, part, list); len(to) > 0 {
			x.recv(r, to)
		}
	}
	own := h.offerAll(f, x.rank(), part, list)
	rows.CopyAll(h.expectHome(f, x.rank(), part, list), own)
	return x.run(ctx, "combine")
}

// offerAll lists the pieces of a part's answers that are rank r's.
func (h *Handle) offerAll(f Format, r, part int, list []tensor) [][]byte {
	begun := len(h.x.round.bufs)
	if !h.takesFrom(r, part) {
		return nil
	}
	for _, t := range list {
		h.offerAnswers(f, r, part, t.pieces)
	}
	return h.x.round.list(begun)
}

// expectHome lists where a part's answers of rank r go.
func (h *Handle) expectHome(f Format, r, part int, list []tensor) [][]byte {
	begun := len(h.x.round.bufs)
	first, n := h.runOf(r, part)
	for _, t := range list {
		h.x.expect(f, t.to, first, n)
	}
	return h.x.round.list(begun)
}

// offerAnswers appends the pieces of a part's answers that are rank r's to the round's buffers.
func (h *Handle) offerAnswers(f Format, r, part int, answers []blas32.General) {
	segments := h.segmentsIn(part)
	base, _ := h.rowsIn(part)
	for i := r; i < len(segments); i += h.plan.Ranks() {
		s := segments[i]
		for s.Rows > 0 && s.First-base >= answers[0].Rows {
			base += answers[0].Rows
			answers = answers[1:]
		}
		if s.Rows > 0 {
			h.x.offer(f, answers[0], s.First-base, s.Rows)
		}
	}
}

// redispatchPart sends a part's rows where the first dispatch sent them.
func (h *Handle) redispatchPart(ctx context.Context, part int, list []tensor) error {
	x, f := h.x, h.x.wire.DispatchBack
	if part == 0 { // all of it, as parts are no run of rows on this side
		for _, t := range list {
			if err := x.checkFinite("dispatch", t.pieces[0]); err != nil {
				return err
			}
		}
	}
	h.begin()
	defer x.round.end()
	h.back = true
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		if out := h.offerRun(f, r, part, list); len(out) > 0 {
			x.send(r, out)
		}
		if pieces := h.expectAll(f, r, part, list); len(pieces) > 0 {
			x.recv(r, pieces)
		}
	}
	own := h.offerRun(f, x.rank(), part, list)
	rows.CopyAll(h.expectAll(f, x.rank(), part, list), own)
	return x.run(ctx, "dispatch")
}

// offerRun lists the rows of a part that go to rank r.
func (h *Handle) offerRun(f Format, r, part int, list []tensor) [][]byte {
	begun := len(h.x.round.bufs)
	first, n := h.runOf(r, part)
	for _, t := range list {
		h.x.offer(f, t.pieces[0], first, n)
	}
	return h.x.round.list(begun)
}

// expectAll lists where a part's rows of rank s go.
func (h *Handle) expectAll(f Format, s, part int, list []tensor) [][]byte {
	begun := len(h.x.round.bufs)
	if !h.takesFrom(s, part) {
		return nil
	}
	for _, t := range list {
		h.x.expectSegments(f, t.to, h.segmentsIn(part), s)
	}
	return h.x.round.list(begun)
}

// begin begins a round of the handle's.
func (h *Handle) begin() {
	h.x.seq++
	h.x.now = h.algorithm
	h.x.round.begin()
}

// runOf is the run of rows, sorted by expert, that a part of rank r's experts gets.
func (h *Handle) runOf(r, part int) (first, n int) {
	begin, end := h.expertsOf(r, part)
	return h.sentBefore(r, begin), sum(h.counts.ofExperts(begin, end))
}

// Release gives every matrix that the handle returned back to its exchange. The handle and its plan must not be used again.
func (h *Handle) Release() {
	if !h.live {
		return
	}
	h.live = false
	for i, data := range h.lent {
		h.x.pool.put(data)
		h.lent[i] = nil
	}
	h.lent = h.lent[:0]
	h.piece, h.single = [1]blas32.General{}, [1]tensor{}
	h.dropSource()
	h.x.spare = append(h.x.spare, h)
}

func (h *Handle) lend(m blas32.General) blas32.General {
	h.lent = append(h.lent, m.Data)
	return m
}
