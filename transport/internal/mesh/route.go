package mesh

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// route decides where the payload of the open frame goes: to the waiter that asked for the message,
// or to the memory for unexpected ones. The caller holds the reader role.
func (p *peer) route() error {
	in := &p.in
	adopted, err := p.destine()
	if err != nil {
		return err
	}
	in.routed = true
	if adopted != nil { // copied without the lock: it may be megabytes
		in.dst = adopted.copyTo(in.waiter)
		if p.free(adopted) {
			p.rouse(true)
		}
	}
	return nil
}

// destine sets in.waiter or in.msg. If a waiter has asked for a message that was being kept, it
// returns what was kept so far, removed from the queue.
func (p *peer) destine() (adopted *message, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := &p.in
	switch {
	case in.waiter != nil:
		return nil, nil
	case in.msg != nil && in.msg.taker != nil:
		adopted = in.msg
		in.waiter, in.msg = adopted.taker, nil
		p.dequeue(adopted)
		return adopted, nil
	case in.msg != nil:
		return nil, p.keep(0)
	}
	if w := p.posted.take(in.head.tag); w != nil {
		w.started, w.n = true, int(in.head.message)
		in.waiter, in.dst = w, cursor{bufs: w.bufs}
		return nil, checkRoom(w)
	}
	return nil, p.keep(messageOverhead)
}

// keep makes room for the open frame in the unexpected message it belongs to. mu is held.
func (p *peer) keep(overhead int) error {
	in := &p.in
	if !p.admit(overhead + in.left) {
		return errStalled
	}
	if in.msg == nil {
		in.msg = p.spare.get(in.head.tag, int(in.head.message))
		p.enqueue(in.msg)
	}
	in.one[0] = nil
	if in.left > 0 {
		in.one[0] = in.msg.grow(in.left)
	}
	in.dst = cursor{bufs: in.one[:]}
	return nil
}

// finishUnexpected marks msg complete. If somebody asked for it meanwhile, it is copied and that
// waiter returned.
func (p *peer) finishUnexpected(msg *message) *waiter {
	p.mu.Lock()
	msg.complete = true
	w := msg.taker
	if w != nil {
		p.dequeue(msg)
	}
	p.mu.Unlock()
	if w != nil {
		msg.copyTo(w)
		if p.free(msg) {
			p.rouse(true)
		}
	}
	return w
}

func checkRoom(w *waiter) error {
	if w.n > w.room {
		return fmt.Errorf("message of %d bytes, tag %#x, room for %d: %w", w.n, uint64(w.tag), w.room, transport.ErrTruncated)
	}
	return nil
}
