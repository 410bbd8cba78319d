package alltoall

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/transport"
)

// Handle is one dispatch's plan, ready to be run again in either direction without exchanging counts. The
// matrices that its methods return belong to it, each until Release.
type Handle struct {
	x    *Exchange
	plan *Plan
	lent [][]float32
}

// Plan returns the plan. The caller must not change it.
func (h *Handle) Plan() *Plan { return h.plan }

// Combine sends the rows of the experts hosted here, in the plan's order, back to where they came from, and
// returns this rank's rows in the order in which they were dispatched.
func (h *Handle) Combine(ctx context.Context, rows blas32.General) (blas32.General, error) {
	x := h.x
	x.checkRows("Combine", rows, h.plan.Received())
	x.nextTag()
	back := x.pool.matrix(h.plan.SentRows(), x.dim)
	var sends, recvs []transport.Message
	home := x.runs(back, h.plan.Sent)
	gatherOwn(home[x.rank()], x.segmentsOf(rows, h.plan.Segments, x.rank()))
	for _, r := range x.others() {
		if out := x.segmentsOf(rows, h.plan.Segments, r); length(out) > 0 {
			sends = append(sends, x.message(r, out...))
		}
		if len(home[r]) > 0 {
			recvs = append(recvs, x.message(r, home[r]))
		}
	}
	return h.finish(ctx, "combine", back, sends, recvs)
}

// Dispatch sends rows the way that the first dispatch went: the gradients of what Combine brought home, say.
func (h *Handle) Dispatch(ctx context.Context, rows blas32.General) (blas32.General, error) {
	x := h.x
	x.checkRows("Dispatch", rows, h.plan.SentRows())
	x.nextTag()
	in := x.pool.matrix(h.plan.Received(), x.dim)
	var sends, recvs []transport.Message
	out := x.runs(rows, h.plan.Sent)
	x.scatterOwn(in, h.plan.Segments, out[x.rank()])
	for _, r := range x.others() {
		if len(out[r]) > 0 {
			sends = append(sends, x.message(r, out[r]))
		}
		if pieces := x.segmentsOf(in, h.plan.Segments, r); length(pieces) > 0 {
			recvs = append(recvs, x.message(r, pieces...))
		}
	}
	return h.finish(ctx, "dispatch", in, sends, recvs)
}

func (h *Handle) finish(ctx context.Context, op string, m blas32.General, sends, recvs []transport.Message) (blas32.General, error) {
	if err := h.x.run(ctx, op, sends, recvs); err != nil {
		return blas32.General{}, err
	}
	if err := h.x.checkLengths(op, recvs); err != nil {
		return blas32.General{}, err
	}
	return h.lend(m), nil
}

// Release gives every matrix that the handle returned back to its exchange. The handle must not be used again.
func (h *Handle) Release() {
	for _, data := range h.lent {
		h.x.pool.put(data)
	}
	h.lent = nil
}

func (h *Handle) lend(m blas32.General) blas32.General {
	h.lent = append(h.lent, m.Data)
	return m
}

func gatherOwn(home []byte, pieces [][]byte) {
	for _, piece := range pieces {
		home = home[copy(home, piece):]
	}
}

func length(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return n
}
