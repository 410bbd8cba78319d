package inproc

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// place says what was being done, and with which rank, for errors.
type place struct {
	op   string
	peer transport.Rank
}

// failed turns what an inbox failed an operation with into what the caller gets. Whatever is not
// this rank's own Close breaks the job.
func (t *Transport) failed(err error, at place) error {
	var known *transport.Error
	switch {
	case errors.As(err, &known):
		return t.seen(known, at)
	case errors.Is(err, transport.ErrClosed):
		return &transport.Error{Rank: t.rank, Op: at.op, Err: err}
	}
	if errors.Is(err, transport.ErrTruncated) {
		return t.misfit(at)
	}
	return t.world.fail(&transport.Error{Rank: at.peer, Op: at.op, Err: err})
}

// seen is what the job is broken with as this rank sees it. Where that is this rank's own leaving,
// which a peer may notice before all of this rank's operations have ended, it is
// [transport.ErrClosed] here.
func (t *Transport) seen(fault *transport.Error, at place) *transport.Error {
	if fault.Rank == t.rank && errors.Is(fault.Err, transport.ErrPeerClosed) {
		return &transport.Error{Rank: t.rank, Op: at.op, Err: transport.ErrClosed}
	}
	return fault
}

// truncated blames the sender, on whichever side the fault was found: it is the sender's message
// that is too long.
func (t *Transport) truncated(at place) *transport.Error {
	sender := at.peer
	if at.op == "send" {
		sender = t.rank
	}
	return &transport.Error{Rank: sender, Op: "recv", Err: transport.ErrTruncated}
}

// gaveUp is the error of an operation taken back because ctx ended, which leaves the job as it was,
// or because it took too long, which breaks it.
func (t *Transport) gaveUp(ctx context.Context, why error, at place) error {
	if errors.Is(why, transport.ErrTimeout) {
		return t.world.fail(t.overdue(at))
	}
	return cancelled(ctx, at)
}

// ended is the error of an operation that finds ctx ended before it starts. A broken job says so
// first.
func (t *Transport) ended(ctx context.Context, at place) error {
	if err := t.world.fault(); err != nil {
		return t.seen(err, at)
	}
	return cancelled(ctx, at)
}

// cancelled wraps ctx's own error, and its cause where that says more.
func cancelled(ctx context.Context, at place) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return &transport.Error{Rank: at.peer, Op: at.op, Err: err}
}
