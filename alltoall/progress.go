package alltoall

import (
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/transport"
)

// ErrOrder says that a method of a [Handle] was called when it is not allowed.
var ErrOrder = errors.New("call out of order")

// progress is how far a handle's trip is.
type progress struct {
	live   bool // until Release
	failed bool // a round has failed
	back   bool // it is not the first trip
	// dispatched and combined are the numbers of chunks that were, in this trip.
	dispatched, combined int
}

// restart begins a trip that is not the first.
func (h *Handle) restart() {
	h.back, h.dispatched, h.combined = true, 0, 0
	h.in, h.home = blas32.General{}, blas32.General{}
}

// mayDispatch returns an error unless Dispatch of a chunk is allowed.
func (h *Handle) mayDispatch(chunk int) error {
	return h.may("dispatch", chunk, h.dispatched, !h.back && h.dispatched < h.Chunks())
}

// mayCombine returns an error unless Combine of a chunk is allowed.
func (h *Handle) mayCombine(chunk int) error {
	return h.may("combine", chunk, h.combined, h.combined < h.dispatched)
}

// mayDispatchBack returns an error unless DispatchBack of a chunk is allowed.
func (h *Handle) mayDispatchBack(chunk int) error {
	if h.between() {
		return h.may("dispatch back", chunk, 0, true)
	}
	return h.may("dispatch back", chunk, h.dispatched, h.back && h.dispatched < h.Chunks())
}

// between reports whether a trip has ended and none has begun since.
func (h *Handle) between() bool { return h.combined == h.Chunks() }

// betweenTrips returns an error unless op, which is for no chunk, is allowed between trips.
func (h *Handle) betweenTrips(op string) error {
	if !h.live || h.failed || h.between() || h.back && h.dispatched == 0 {
		return h.usable(op)
	}
	return h.x.misuse(op, "%w: %d of %d chunks have been dispatched and %d combined", ErrOrder, h.dispatched, h.Chunks(), h.combined)
}

// may returns an error unless op is allowed now, and chunk is the next.
func (h *Handle) may(op string, chunk, next int, allowed bool) error {
	if err := h.usable(op); err != nil {
		return err
	}
	if !allowed {
		return h.x.misuse(op, "%w: chunk %d, when %d of %d chunks have been dispatched and %d combined",
			ErrOrder, chunk, h.dispatched, h.Chunks(), h.combined)
	}
	if chunk != next {
		return h.x.misuse(op, "%w: chunk %d, want chunk %d of %d", ErrOrder, chunk, next, h.Chunks())
	}
	return nil
}

// usable returns an error if the handle has been released or a round of it has failed.
func (h *Handle) usable(op string) error {
	switch {
	case !h.live:
		return h.x.misuse(op, "%w: after Release", ErrOrder)
	case h.failed:
		return h.x.misuse(op, "%w: after a call that failed", ErrOrder)
	}
	return nil
}

// ended notes how a round ended: if it failed only Release is allowed.
func (h *Handle) ended(err error) error {
	h.failed = err != nil
	return err
}

// misuse is an error of this rank's program in op.
func (x *Exchange) misuse(op, format string, args ...any) error {
	return &transport.Error{Rank: transport.Joined(x.t, x.t.Rank()), Op: x.named(op), Err: fmt.Errorf(format, args...)}
}

// checkRows returns an error unless m is a packed matrix of the given number of rows, as wide as
// those of the exchange.
func (x *Exchange) checkRows(op string, m blas32.General, want int) error {
	if m.Rows != want || want > 0 && (m.Cols != x.dim || m.Stride != x.dim) {
		return x.misuse(op, "%d rows × %d (stride %d), want %d × %d, packed", m.Rows, m.Cols, m.Stride, want, x.dim)
	}
	if err := check.Matrix(m, x.dim); err != nil {
		return x.misuse(op, "%w", err)
	}
	return nil
}
