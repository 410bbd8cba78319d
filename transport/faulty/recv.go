package faulty

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport/internal/delayqueue"
)

func (t *Transport) recv(ctx context.Context, o Op, bufs [][]byte) (int, error) {
	if err := t.refused(ctx, &o); err != nil {
		return 0, err
	}
	if len(t.cfg.Rules) == 0 {
		n, err := t.below.Recv(ctx, o.Peer, o.Tag, bufs...)
		return n, t.learn(ctx, err, &o)
	}
	turn := t.turns.queue(o.key())
	defer t.turns.leave(o.key(), turn)
	if err := t.stall(ctx, &o, turn); err != nil {
		return 0, err
	}
	for {
		n, dropped, err := t.recvFaulty(ctx, &o, bufs)
		if !dropped {
			return n, err
		}
		o = t.number(Recv, o.Peer, o.Tag, bufs)
	}
}

// recvFaulty receives one message, which is to be discarded if dropped.
func (t *Transport) recvFaulty(ctx context.Context, o *Op, bufs [][]byte) (n int, dropped bool, err error) {
	f := t.records.choose(o, &t.cfg)
	switch f.kind {
	case KindFail:
		return 0, false, t.crash(o, f.err)
	case KindStall:
		err = t.stall(ctx, o, f.until)
	case KindDelay:
		err = t.pause(ctx, o, f.lag(o, t.cfg.Seed))
	}
	if err != nil {
		return 0, false, err
	}
	if n, err = t.below.Recv(ctx, o.Peer, o.Tag, bufs...); err != nil {
		return 0, false, t.learn(ctx, err, o)
	}
	if f.kind == KindCorrupt {
		corrupt(cut(bufs, n), f.bytes, o.draw(t.cfg.Seed, corruptSalt))
	}
	return n, f.kind == KindDrop, nil
}

func (t *Transport) pause(ctx context.Context, o *Op, d time.Duration) error {
	over := make(chan struct{})
	timer := time.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	return t.stall(ctx, o, over)
}

// turns keeps the receives of one sender and tag in the order of their calls, so that the next one
// does not overtake a delayed one.
type turns struct {
	mu      sync.Mutex
	waiting map[delayqueue.Key][]chan struct{}
}

// queue returns a channel that is closed when it is the caller's turn.
func (q *turns) queue(k delayqueue.Key) chan struct{} {
	turn := make(chan struct{})
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting == nil {
		q.waiting = make(map[delayqueue.Key][]chan struct{})
	}
	if q.waiting[k] = append(q.waiting[k], turn); len(q.waiting[k]) == 1 {
		close(turn)
	}
	return turn
}

// leave ends the caller's turn, or its wait for it.
func (q *turns) leave(k delayqueue.Key, turn chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting[k], turn)
	q.waiting[k] = slices.Delete(q.waiting[k], i, i+1)
	switch {
	case len(q.waiting[k]) == 0:
		delete(q.waiting, k)
	case i == 0:
		close(q.waiting[k][0])
	}
}
