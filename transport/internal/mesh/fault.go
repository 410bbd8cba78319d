package mesh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// fault is why a call failed: who is to blame, and for what.
type fault struct {
	rank transport.Rank
	err  error
}

// as states the fault as that of the named operation.
func (f *fault) as(op string) *transport.Error {
	return &transport.Error{Rank: f.rank, Op: op, Err: f.err}
}

// reasonGrace is how long the end of a data stream waits for the control stream to say what has
// happened. Both ends of a dead process are closed by the same kernel within microseconds; the rest
// is for a loaded machine.
const reasonGrace = 500 * time.Millisecond

// fail breaks the transport for good, unless it is broken already, and returns the fault that
// counts. Peers are notified before any call here returns, so that none of them mistakes this
// rank's leaving for the cause.
func (t *Mesh) fail(rank transport.Rank, err error) *fault {
	f := &fault{rank, err}
	if !t.fault.CompareAndSwap(nil, f) {
		return t.brokenBy()
	}
	if !t.closed.Load() {
		t.cfg.Log.Warn("transport broken", "rank", t.cfg.Rank, "culprit", rank, "err", err)
		for _, p := range t.peers {
			p.sendAbort(f)
		}
	}
	t.revoke()
	close(t.broken)
	t.sleepers.wakeAll()
	return f
}

// revoke warns the peers who may be reading this rank's memory, before its callers get that back.
func (t *Mesh) revoke() {
	for _, p := range t.peers {
		p.controlMu.Lock()
		shared := p.shared
		p.controlMu.Unlock()
		if shared != nil {
			shared.Revoke()
		}
	}
}

// brokenBy returns what broke the transport, if anything did, once the peers have been notified: a
// call that returned sooner could be followed by a Close that ends the streams before the culprit's
// name is on them.
func (t *Mesh) brokenBy() *fault {
	f := t.fault.Load()
	if f != nil {
		<-t.broken
	}
	return f
}

// failStream breaks the transport because of an error on p's data stream. If the stream merely
// ended, the control stream knows why.
func (t *Mesh) failStream(p *peer, err error) *fault {
	if errors.Is(err, transport.ErrTruncated) {
		return t.failMismatch(p, err)
	}
	for _, own := range []error{transport.ErrCorrupt, transport.ErrProtocol, transport.ErrTooLarge} {
		if errors.Is(err, own) {
			return t.fail(p.rank, err)
		}
	}
	timer := time.NewTimer(reasonGrace)
	defer timer.Stop()
	select {
	case <-p.gone:
	case <-t.broken:
	case <-t.closing:
	case <-timer.C:
	}
	if f := t.unusable(); f != nil {
		return f
	}
	if p.saidGoodbye.Load() {
		return t.fail(p.rank, transport.ErrPeerClosed)
	}
	return t.fail(p.rank, peerLost(err))
}

// errAbandoned: an operation that failed has left half a message on the stream. Why it failed is
// known to the transport.
var errAbandoned = errors.New("another call has left in the middle of a message")

// contextError is the error of a call whose context has ended.
func contextError(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// interrupted reports why the operation must end before it is done, or nil.
func (op *operation) interrupted(ctx context.Context) *fault {
	if f := op.t.unusable(); f != nil {
		return f
	}
	if op.timedOut.Load() {
		return op.t.fail(transport.Overdue(op.t.program(), op.awaited(), op.t.cfg.OpTimeout))
	}
	if ctx.Err() == nil {
		return nil
	}
	rank, err := op.awaited(), contextError(ctx)
	if op.withdraw() {
		return &fault{rank, err}
	}
	if errors.Is(err, context.Canceled) {
		rank = op.t.cfg.Rank // the rank that cancels half a message is the one to blame
	}
	return op.t.fail(rank, fmt.Errorf("message half moved: %w", err))
}

// awaited is the first rank that the operation still needs something from.
func (op *operation) awaited() transport.Rank {
	for i := range op.sources {
		if op.sources[i].pending.Load() > 0 {
			return op.sources[i].p.rank
		}
	}
	for _, h := range op.heads {
		if h != none {
			return op.sends[h].p.rank
		}
	}
	return op.t.cfg.Rank
}

// withdraw takes everything back that was asked for, and reports whether not a byte of any message
// has moved.
func (op *operation) withdraw() bool {
	clean := true
	for i := range op.sends {
		clean = clean && !op.sends[i].started
	}
	for i := range op.recvs {
		w := &op.recvs[i]
		clean = w.source.p.withdraw(w) && clean
	}
	return clean
}

// leave ends the operation's part in everything it shares. After a failure it makes sure that
// nobody still reads into the caller's buffers.
func (op *operation) leave(failed bool) {
	op.stopSpinning()
	for i := range op.sends {
		if o := &op.sends[i]; o.holds && !o.started {
			o.release() // a stream with half a message on it stays held: nothing can follow
		}
	}
	for i := range op.sources {
		op.sources[i].yieldRole()
	}
	if failed {
		op.withdrawAll()
	}
	if op.asleep {
		op.t.sleepers.remove(op)
		op.asleep = false
		op.timedOut.Store(false)
	}
	if op.unhook != nil {
		op.unhook()
		op.unhook = nil
	}
	op.forget()
}

// withdrawAll takes back every waiter that is not done, whether it is posted or being filled.
func (op *operation) withdrawAll() {
	for i := range op.recvs {
		w := &op.recvs[i]
		p := w.source.p
		if p.withdraw(w) || w.done.Load() || p == op.t.self {
			continue
		}
		p.takeRole()
		p.abandon(w)
		p.in.reading.Store(false)
	}
	for i := range op.sources {
		if p := op.sources[i].p; !p.in.reading.Load() {
			p.wake(false) // this operation may have been the next to read
		}
	}
}

// abandon makes the stream forget w. The transport is broken or closed, and the caller holds the
// reader role. If half of w's message has come, nobody reads on: the rest of it is not a frame.
func (p *peer) abandon(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in.waiter == w {
		p.in.waiter, p.in.dst = nil, cursor{}
		p.in.abandoned = true
	}
	if m := p.in.msg; m != nil && m.taker == w {
		m.taker = nil
	}
}

// forget drops every reference to the caller's memory.
func (op *operation) forget() {
	clear(op.recvs)
	clear(op.sends)
	op.one[0] = transport.Message{}
}
