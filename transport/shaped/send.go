package shaped

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/delayqueue"
)

// sending is one message on its way through the link.
type sending struct {
	message *delayqueue.Message
	departs time.Time
	to      transport.Rank
	size    int
}

// post queues the message after those that the link has accepted before.
func (t *Transport) post(ctx context.Context, m transport.Message, op string) (sending, error) {
	k := delayqueue.Key{To: int(m.Peer), Tag: uint64(m.Tag)}
	if err := t.queue.Check(k.To, k.Tag); err != nil {
		return sending{}, t.failed(ctx, err, m.Peer, op)
	}
	if ctx.Err() != nil {
		return sending{}, t.failed(ctx, ctx.Err(), m.Peer, op)
	}
	s := sending{to: m.Peer, size: rows.SizeOf(m.Bufs)}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.departs = t.link.send(time.Now(), s.size)
	var err error
	if s.message, err = t.queue.Post(k, m.Bufs, t.arrival(s.departs, k)); err != nil {
		return sending{}, t.failed(ctx, err, m.Peer, op)
	}
	return s, nil
}

// await waits until the message has left.
func (t *Transport) await(ctx context.Context, s sending, op string) error {
	if err := t.queue.Wait(ctx, s.message, s.departs); err != nil {
		return t.failed(ctx, err, s.to, op)
	}
	t.count(s.to, s.size)
	return nil
}

// Exchange runs all sends and receives at once. The sends leave in the order of the list. See
// [transport.Exchange].
func (t *Transport) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	for _, list := range [2][]transport.Message{sends, recvs} {
		for i := range list {
			t.check("Exchange", list[i].Peer)
		}
	}
	if err := t.refused("exchange"); err != nil {
		return err
	}
	direct, posted, err := t.postAll(ctx, sends)
	if err == nil {
		err = t.learn(ctx, transport.Exchange(ctx, t.below, direct, recvs), "exchange")
	}
	if err != nil {
		for _, s := range posted {
			t.queue.Withdraw(s.message)
		}
		return err
	}
	for _, m := range direct {
		t.count(m.Peer, rows.SizeOf(m.Bufs))
	}
	for _, s := range posted {
		// After an error the context of the others has ended or the transport is broken: no wait is
		// long.
		if e := t.await(ctx, s, "exchange"); e != nil && err == nil {
			err = e
		}
	}
	return err
}

// postAll posts the messages that go through the link and returns the others.
func (t *Transport) postAll(ctx context.Context, sends []transport.Message) (direct []transport.Message, posted []sending, err error) {
	for _, m := range sends {
		if !t.behind[m.Peer] {
			direct = append(direct, m)
			continue
		}
		s, err := t.post(ctx, m, "exchange")
		if err != nil {
			return nil, posted, err
		}
		posted = append(posted, s)
	}
	return direct, posted, nil
}

// refused returns why no call is possible on this side of the link, or nil.
func (t *Transport) refused(op string) error {
	if t.closed.Load() {
		return &transport.Error{Rank: t.Rank(), Op: op, Err: transport.ErrClosed}
	}
	return nil
}

// learn returns an error of the transport below. Unless it is that of a context, the transport is
// broken, and calls that wait for the link must end.
func (t *Transport) learn(ctx context.Context, err error, op string) error {
	switch {
	case err == nil:
		return nil
	case t.closed.Load():
		return &transport.Error{Rank: t.Rank(), Op: op, Err: transport.ErrClosed}
	case ctx.Err() == nil:
		t.queue.Fail(err)
	}
	return err
}

// failed returns err, of the queue, as the caller's error.
func (t *Transport) failed(ctx context.Context, err error, peer transport.Rank, op string) error {
	var known *transport.Error
	switch {
	// the transport below may have been closed meanwhile
	case errors.Is(err, delayqueue.ErrClosed), t.closed.Load():
		return &transport.Error{Rank: t.Rank(), Op: op, Err: transport.ErrClosed}
	case errors.As(err, &known):
		return &transport.Error{Rank: known.Rank, Op: op, Seq: known.Seq, Err: known.Err}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return &transport.Error{Rank: peer, Op: op, Err: err}
}
