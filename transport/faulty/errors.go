package faulty

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/delayqueue"
)

// refused returns why an operation cannot begin, or nil. The transport below is asked whether it
// still works, since a fault may keep the operation from it.
func (t *Transport) refused(ctx context.Context, o *Op) error {
	if err := t.unusable(o); err != nil {
		return err
	}
	if len(t.cfg.Rules) == 0 {
		return nil
	}
	if err := t.queue.Check(int(o.Peer), uint64(o.Tag)); err != nil {
		return t.failed(ctx, err, o)
	}
	return t.failed(ctx, ctx.Err(), o)
}

// unusable returns the error of every operation, or nil.
func (t *Transport) unusable(o *Op) error {
	select {
	case <-t.closing:
		return &transport.Error{Rank: o.Rank, Op: o.Dir.String(), Err: transport.ErrClosed}
	default:
	}
	select {
	case <-t.broken:
		return &transport.Error{Rank: t.fault.Rank, Op: o.Dir.String(), Seq: t.fault.Seq, Err: t.fault.Err}
	default:
		return nil
	}
}

// stall waits for until. The end of ctx, Close and a failure of the transport end it with an error.
func (t *Transport) stall(ctx context.Context, o *Op, until <-chan struct{}) error {
	select {
	case <-until:
		return nil
	case <-ctx.Done():
		return t.failed(ctx, ctx.Err(), o)
	case <-t.closing:
	case <-t.broken:
	}
	return t.unusable(o)
}

// learn returns an error of the transport below. Unless it is that of a context, the transport is
// broken, and stalled operations must end.
func (t *Transport) learn(ctx context.Context, err error, o *Op) error {
	if err == nil {
		return nil
	}
	if own := t.unusable(o); own != nil {
		return own
	}
	var known *transport.Error
	if ctx.Err() == nil && errors.As(err, &known) {
		t.fail(known)
	}
	return err
}

// fail breaks this end. The first error counts.
func (t *Transport) fail(err *transport.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fault == nil {
		t.fault = err
		close(t.broken)
		t.queue.Fail(err)
	}
}

// failed returns err, of the queue or a context, as the operation's error, or nil.
func (t *Transport) failed(ctx context.Context, err error, o *Op) error {
	var known *transport.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, delayqueue.ErrClosed):
		return &transport.Error{Rank: o.Rank, Op: o.Dir.String(), Err: transport.ErrClosed}
	case errors.As(err, &known):
		if own := t.unusable(o); own != nil { // this rank may have closed it meanwhile
			return own
		}
		t.fail(known)
		return &transport.Error{Rank: known.Rank, Op: o.Dir.String(), Seq: known.Seq, Err: known.Err}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return &transport.Error{Rank: o.Peer, Op: o.Dir.String(), Err: err}
}

// crash ends the rank.
func (t *Transport) crash(o *Op, cause error) error {
	err := ErrInjected
	if cause != nil {
		err = fmt.Errorf("%w: %w", ErrInjected, cause)
	}
	t.fail(&transport.Error{Rank: o.Rank, Op: o.Dir.String(), Seq: o.N, Err: err})
	transport.Abort(t.below, err)
	return t.unusable(o)
}
