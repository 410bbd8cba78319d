package alltoall

import (
	"context"

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
}

// newHandle returns a handle in the memory of one that has been released, if there is any.
func (x *Exchange) newHandle() *Handle {
	last := len(x.spare) - 1
	if last < 0 {
		return &Handle{x: x, live: true}
	}
	h := x.spare[last]
	x.spare, h.live = x.spare[:last], true
	return h
}

// Plan returns the plan. The caller must not change it.
func (h *Handle) Plan() *Plan { return &h.plan }

// Combine sends answers, the rows of the experts hosted here in the plan's order, back to where they came from, and
// returns this rank's rows in the order in which they were dispatched.
func (h *Handle) Combine(ctx context.Context, answers blas32.General) (blas32.General, error) {
	x := h.x
	x.checkRows("Combine", answers, h.plan.Received())
	h.begin()
	defer x.round.end()
	back := x.pool.matrix(h.plan.SentRows(), x.dim)
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		begun := len(x.round.bufs)
		x.segmentsOf(answers, h.plan.Segments, r)
		if out := x.round.list(begun); len(out) > 0 {
			x.send(r, out)
		}
		if home := h.runOf(back, r); len(home) > 0 {
			x.recv(r, x.round.one(home))
		}
	}
	begun := len(x.round.bufs)
	x.segmentsOf(answers, h.plan.Segments, x.rank())
	own := x.round.list(begun)
	rows.CopyAll(x.round.one(h.runOf(back, x.rank())), own)
	return h.finish(ctx, "combine", back)
}

// Dispatch sends rows the way that the first dispatch went: the gradients of what Combine brought home, say.
func (h *Handle) Dispatch(ctx context.Context, m blas32.General) (blas32.General, error) {
	x := h.x
	x.checkRows("Dispatch", m, h.plan.SentRows())
	h.begin()
	defer x.round.end()
	in := x.pool.matrix(h.plan.Received(), x.dim)
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		if out := h.runOf(m, r); len(out) > 0 {
			x.send(r, x.round.one(out))
		}
		begun := len(x.round.bufs)
		x.segmentsOf(in, h.plan.Segments, r)
		if pieces := x.round.list(begun); len(pieces) > 0 {
			x.recv(r, pieces)
		}
	}
	x.keepOwn(in, &h.plan, source{m: m})
	return h.finish(ctx, "dispatch", in)
}

// begin begins a round of the handle's.
func (h *Handle) begin() {
	h.x.seq++
	h.x.now = h.algorithm
	h.x.round.begin()
}

// runOf is the run of m, rows sorted by expert, that rank r's experts get.
func (h *Handle) runOf(m blas32.General, r int) []byte {
	return h.x.bytesOf(m, sum(h.plan.Sent[:r]), h.plan.Sent[r])
}

func (h *Handle) finish(ctx context.Context, op string, m blas32.General) (blas32.General, error) {
	if err := h.x.run(ctx, op); err != nil {
		return blas32.General{}, err
	}
	return h.lend(m), nil
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
	h.x.spare = append(h.x.spare, h)
}

func (h *Handle) lend(m blas32.General) blas32.General {
	h.lent = append(h.lent, m.Data)
	return m
}
