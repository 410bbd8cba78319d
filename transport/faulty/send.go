package faulty

import (
	"context"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/delayqueue"
)

func (t *Transport) send(ctx context.Context, o Op, bufs [][]byte) error {
	if err := t.refused(ctx, &o); err != nil {
		return err
	}
	err := t.sendFaulty(ctx, &o, bufs)
	if err == nil && o.Peer != o.Rank {
		t.wire.Add(uint64(o.Size))
	}
	return err
}

func (t *Transport) sendFaulty(ctx context.Context, o *Op, bufs [][]byte) error {
	f := t.records.choose(o, &t.cfg)
	switch f.kind {
	case KindFail:
		return t.crash(o, f.err)
	case KindDrop:
		return nil
	case KindDelay:
		return t.sendLater(ctx, o, bufs, f.lag(o, t.cfg.Seed))
	case KindReorder:
		if !t.held.others(o) {
			return t.hold(o, bufs, f.most)
		}
	case KindCorrupt:
		bufs = [][]byte{corrupted(bufs, f.bytes, o.draw(t.cfg.Seed, corruptSalt))}
	case KindStall:
		if err := t.stall(ctx, o, f.until); err != nil {
			return err
		}
	}
	defer t.held.overtaken(o)
	if t.queue.Busy(o.key()) {
		return t.sendLater(ctx, o, bufs, 0)
	}
	return t.learn(ctx, t.below.Send(ctx, o.Peer, o.Tag, bufs...), o)
}

// sendLater puts a copy of the message into the delay queue.
func (t *Transport) sendLater(ctx context.Context, o *Op, bufs [][]byte, lag time.Duration) error {
	now := time.Now()
	l, err := t.queue.Post(o.key(), bufs, now.Add(lag))
	if err == nil {
		err = t.queue.Wait(ctx, l, now)
	}
	return t.failed(ctx, err, o)
}

// hold keeps the message back until another has overtaken it.
func (t *Transport) hold(o *Op, bufs [][]byte, most time.Duration) error {
	l, err := t.queue.Post(o.key(), bufs, time.Now().Add(most))
	if err != nil {
		return t.failed(context.Background(), err, o)
	}
	t.held.add(o, l)
	return nil
}

// held are the messages that wait to be overtaken, by receiver.
type held struct {
	mu      sync.Mutex
	letters map[transport.Rank]map[*delayqueue.Message]transport.Tag
}

func (h *held) add(o *Op, l *delayqueue.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.letters == nil {
		h.letters = make(map[transport.Rank]map[*delayqueue.Message]transport.Tag)
	}
	if h.letters[o.Peer] == nil {
		h.letters[o.Peer] = make(map[*delayqueue.Message]transport.Tag)
	}
	h.letters[o.Peer][l] = o.Tag
}

// others reports whether a message to the same peer with another tag waits already: then this one
// can overtake it.
func (h *held) others(o *Op) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l, tag := range h.letters[o.Peer] {
		select {
		case <-l.Done():
			delete(h.letters[o.Peer], l)
		default:
			if tag != o.Tag {
				return true
			}
		}
	}
	return false
}

// overtaken releases the messages that the operation has overtaken.
func (h *held) overtaken(o *Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l, tag := range h.letters[o.Peer] {
		if tag != o.Tag {
			l.Release()
			delete(h.letters[o.Peer], l)
		}
	}
}

func (o *Op) key() delayqueue.Key { return delayqueue.Key{To: int(o.Peer), Tag: uint64(o.Tag)} }
