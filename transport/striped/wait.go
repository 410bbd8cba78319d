package striped

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// clock bounds the waiting of one call, from when it first has to wait.
type clock struct{ timer *time.Timer }

// start returns a channel that ends the waiting, or nil if there is no limit.
func (c *clock) start(limit time.Duration) <-chan time.Time {
	if limit <= 0 {
		return nil
	}
	if c.timer == nil {
		c.timer = time.NewTimer(limit)
	}
	return c.timer.C
}

func (c *clock) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// errInterrupted says that the transport has been closed or broken while a call waited.
var errInterrupted = errors.New("closed or broken")

// wait waits for a value from event. Otherwise it returns why the wait ended.
func (t *Transport) wait(ctx context.Context, c *clock, event <-chan struct{}) error {
	select {
	case <-event:
		return nil
	default:
	}
	select {
	case <-event:
		return nil
	case <-t.closing:
	case <-t.broken:
	case <-ctx.Done():
		return gaveUp(ctx)
	case <-c.start(t.cfg.OpTimeout):
		return transport.ErrTimeout
	}
	return errInterrupted
}

// await waits until it can put a value into slot. Otherwise it returns why the wait ended.
func (t *Transport) await(ctx context.Context, c *clock, slot chan<- struct{}) error {
	select {
	case slot <- struct{}{}:
		return nil
	default:
	}
	select {
	case slot <- struct{}{}:
		return nil
	case <-t.closing:
	case <-t.broken:
	case <-ctx.Done():
		return gaveUp(ctx)
	case <-c.start(t.cfg.OpTimeout):
		return transport.ErrTimeout
	}
	return errInterrupted
}

// gaveUp is the error of a call whose context has ended.
func gaveUp(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// interrupted returns the fault of a call with peer that ended because of why. begun says that a
// part of its message has moved. That breaks the transport, unless nothing has moved and the caller
// has cancelled.
func (t *Transport) interrupted(why error, peer transport.Rank, begun bool) *fault {
	switch {
	case errors.Is(why, errInterrupted):
		return t.unusable()
	case errors.Is(why, errPeerLeft):
		if f := t.unusable(); f != nil {
			return f
		}
		return t.fail(peer, transport.ErrPeerClosed)
	case errors.Is(why, transport.ErrTimeout):
		culprit, err := transport.Overdue(t.watched(), peer, t.cfg.OpTimeout)
		return t.fail(culprit, fmt.Errorf("%s%w", t.deadLinks("%s dead: "), err))
	case !begun:
		return &fault{peer, why}
	}
	if errors.Is(why, context.Canceled) {
		peer = t.rank // a rank that cancels half a message is to blame
	}
	return t.fail(peer, fmt.Errorf("message half moved: %w", why))
}
