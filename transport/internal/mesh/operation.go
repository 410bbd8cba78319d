package mesh

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// operation is one call of Send, Recv or Exchange: what it waits for and what it still has to
// write. It runs on the caller's goroutine and is reused by later calls.
type operation struct {
	t    *Mesh
	name string
	Sleeper

	recvs      []waiter
	sources    []source
	unreceived atomic.Int32 // sources whose messages have not all come

	sends  []outgoing
	heads  []int32 // the message under way for each receiver, an index into sends, or none
	unsent int     // receivers to which a message is still to be sent

	scratch  []int32 // for each rank, 1 + an index into sources or heads while posting
	spins    bool    // it has the right to spin
	asleep   bool    // known to the monitor
	since    time.Time
	timedOut atomic.Bool
	unhook   func() bool // takes back the wake-up by the caller's context
	one      [1]transport.Message
}

// source is one peer that the operation receives from.
type source struct {
	op      *operation
	p       *peer
	pending atomic.Int32 // messages still to come
	holds   bool         // the reader role is ours
}

const none int32 = -1

// turnBytes is what one operation moves on one stream before it turns to the next: small enough
// that large messages in both directions make progress together, large enough that turns cost
// nothing.
const turnBytes = 1 << 20

// prepare posts nothing yet: it lays out what the call asks for.
func (op *operation) prepare(sends, recvs []transport.Message) {
	if cap(op.recvs) < len(recvs) {
		op.recvs = make([]waiter, len(recvs))
	}
	op.recvs = op.recvs[:len(recvs)]
	op.sources, op.heads = op.sources[:0], op.heads[:0]
	op.layRecvs(recvs)
	op.laySends(sends)
}

func (op *operation) layRecvs(recvs []transport.Message) {
	for i := range recvs {
		m := &recvs[i]
		at := op.scratch[m.Peer]
		if at == 0 {
			at = int32(len(op.sources)) + 1
			op.sources = op.sources[:at] // never beyond its capacity, one a rank: waiters point into it
			s := &op.sources[at-1]
			s.op, s.p, s.holds = op, op.t.peers[m.Peer], false
			s.pending.Store(0)
			op.scratch[m.Peer] = at
		}
		s := &op.sources[at-1]
		s.pending.Add(1)
		w := &op.recvs[i]
		w.source, w.tag, w.bufs, w.room, w.n, w.started = s, m.Tag, m.Bufs, rows.SizeOf(m.Bufs), 0, false
		w.done.Store(false)
	}
	op.unreceived.Store(int32(len(op.sources)))
	for i := range op.sources {
		op.scratch[op.sources[i].p.rank] = 0
	}
}

func (op *operation) laySends(sends []transport.Message) {
	op.sends = op.sends[:0]
	for i := range sends {
		m := &sends[i]
		op.sends = append(op.sends, outgoing{
			p: op.t.peers[m.Peer], tag: m.Tag, at: cursor{bufs: m.Bufs}, total: rows.SizeOf(m.Bufs), next: none,
		})
		if last := op.scratch[m.Peer]; last != 0 {
			op.sends[last-1].next = int32(i)
		} else {
			op.heads = append(op.heads, int32(i))
		}
		op.scratch[m.Peer] = int32(i) + 1
	}
	op.unsent = len(op.heads)
	for i := range op.sends {
		op.scratch[op.sends[i].p.rank] = 0
	}
}

// post asks for every message the call wants to receive, and takes those that are here.
func (op *operation) post() *fault {
	for i := range op.recvs {
		w := &op.recvs[i]
		p := w.source.p
		msg, err := p.post(w)
		if err != nil {
			return op.t.failMismatch(p, err)
		}
		if msg != nil {
			msg.copyTo(w)
			w.complete()
			if p.free(msg) {
				p.wake(true)
			}
		}
	}
	return nil
}

// perform runs the operation that sends and recvs describe.
func (op *operation) perform(ctx context.Context, sends, recvs []transport.Message) *fault {
	op.prepare(sends, recvs)
	return op.run(ctx)
}

// run moves everything there is to move, and returns when all is done or the operation has failed.
func (op *operation) run(ctx context.Context) *fault {
	if err := op.post(); err != nil {
		return err
	}
	spins := op.t.spins
	for idle := 0; ; {
		moved, err := op.turn()
		if err != nil {
			return err
		}
		if op.unsent == 0 && op.unreceived.Load() == 0 {
			return nil
		}
		if err := op.interrupted(ctx); err != nil {
			return err
		}
		switch {
		case moved:
			idle = 0
		case idle < spins && op.maySpin():
			idle++
			if !op.t.spin.yield(idle) {
				spins = 0
			}
		default:
			op.stopSpinning()
			begin := time.Now()
			if err := op.park(ctx); err != nil {
				return err
			}
			idle, spins = 0, op.t.spinsAfter(time.Since(begin))
		}
	}
}

// maySpin takes the right to spin, if few others have it and the machine is not busy.
func (op *operation) maySpin() bool {
	if op.spins {
		return true
	}
	if !op.t.spin.allowed(time.Now()) {
		return false
	}
	if op.t.spinning.Add(1) > maxSpinning {
		op.t.spinning.Add(-1)
		return false
	}
	op.spins = true
	return true
}

// stopSpinning gives the right back.
func (op *operation) stopSpinning() {
	if op.spins {
		op.spins = false
		op.t.spinning.Add(-1)
	}
}

// longPark is a sleep after which the next wait is slept through from its beginning: it is for a
// slow link, or for a peer that has no processor, and more turns would take the processor from
// programs that compute. Four ranks behind links of 250 Mbit/s spent two thirds of an exchange's
// processor time that way.
const longPark = 200 * time.Microsecond

// spinsAfter is how many turns without progress precede the next sleep, after one that took this
// long.
func (t *Mesh) spinsAfter(rest time.Duration) int {
	if rest > longPark {
		return 0
	}
	return t.spins
}

// turn moves what it can on every stream of the operation, and reports whether anything moved.
func (op *operation) turn() (bool, *fault) {
	moved := false
	for i := range op.heads {
		if op.heads[i] != none {
			n, err := op.sendTurn(&op.heads[i])
			if err != nil {
				return true, err
			}
			moved = moved || n
		}
	}
	for i := range op.sources {
		s := &op.sources[i]
		if s.pending.Load() == 0 {
			s.yieldRole()
			continue
		}
		n, err := op.recvTurn(s)
		if err != nil {
			return true, err
		}
		moved = moved || n
	}
	return moved, nil
}

// sendTurn writes to one receiver.
func (op *operation) sendTurn(head *int32) (bool, *fault) {
	o := &op.sends[*head]
	if o.p == op.t.self {
		op.sent(head, o)
		return true, op.sendSelf(o)
	}
	if err := op.checkSend(o); err != nil {
		return true, op.t.fail(o.p.rank, err)
	}
	n, done, err := o.push(op, turnBytes)
	if err != nil {
		return true, op.t.failStream(o.p, err)
	}
	if !done && o.peerGone() {
		return true, op.t.fail(o.p.rank, transport.ErrPeerClosed)
	}
	if done {
		op.t.wireBytes.Add(uint64(o.total))
		op.sent(head, o)
	}
	return n > 0, nil
}

// checkSend reports why a message that has not begun cannot be sent.
func (op *operation) checkSend(o *outgoing) error {
	switch {
	case o.started:
		return nil
	case o.p.saidGoodbye.Load():
		return transport.ErrPeerClosed
	}
	return nil
}

func (op *operation) sent(head *int32, o *outgoing) {
	if *head = o.next; *head == none {
		op.unsent--
	}
}

// recvTurn reads from one sender.
func (op *operation) recvTurn(s *source) (bool, *fault) {
	if s.p == op.t.self {
		return false, nil
	}
	if !s.holds {
		if s.holds = s.p.tryRead(); !s.holds {
			return false, nil
		}
	}
	n, err := s.p.pump(s, turnBytes)
	switch {
	case err == errStalled:
		s.holds = false
		s.p.endStalled() // the call that asks for the message, or frees memory, takes the role up
		return n > 0, nil
	case err != nil:
		return true, op.t.failStream(s.p, err)
	}
	if s.pending.Load() == 0 {
		s.yieldRole()
	}
	return n > 0, nil
}

// yieldRole gives the reader role up if it is ours.
func (s *source) yieldRole() {
	if s.holds {
		s.holds = false
		s.p.endRead()
	}
}

// park sleeps until one of the streams is ready or the operation is woken.
func (op *operation) park(ctx context.Context) *fault {
	op.arm()
	op.enlist(ctx)
	moved, err := op.turn()
	if err == nil {
		err = op.interrupted(ctx)
	}
	if err != nil || moved || (op.unsent == 0 && op.unreceived.Load() == 0) {
		op.disarm()
		return err
	}
	if op.awaitStreams() {
		op.disarm()
		return nil
	}
	if op.sleep() {
		op.wakeOthers()
	}
	return nil
}

// awaitStreams makes the streams that the operation needs end its sleep, and reports whether one of
// them is ready already.
func (op *operation) awaitStreams() (ready bool) {
	for i := range op.sources {
		if s := &op.sources[i]; s.holds {
			ready = s.p.awaitBytes(&op.Sleeper) || ready
		}
	}
	for _, h := range op.heads {
		if h != none && op.sends[h].awaitsStream() {
			ready = op.sends[h].await(&op.Sleeper) || ready
		}
	}
	return ready
}

// wakeOthers wakes the other operations that wait to send on the same streams: the signal may have
// been meant for them.
func (op *operation) wakeOthers() {
	for _, h := range op.heads {
		if h != none && op.sends[h].awaitsStream() {
			op.sends[h].p.out.wake()
		}
	}
}

// enlist registers the operation with those that may have to wake it: the monitor and the caller's
// context.
func (op *operation) enlist(ctx context.Context) {
	if op.asleep {
		return
	}
	op.asleep = true
	op.since = time.Now()
	op.t.sleepers.add(op)
	if ctx.Done() != nil {
		op.unhook = context.AfterFunc(ctx, op.Wake)
	}
}

// sendSelf delivers a message of this rank to itself: at once if it was asked for, else it is kept.
// The copy is made under the lock, so that a waiter which has left the list is never written to
// afterwards.
func (op *operation) sendSelf(o *outgoing) *fault {
	o.started = true
	self := op.t.self
	self.mu.Lock()
	defer self.mu.Unlock()
	w, err := self.claim(o.tag, o.total)
	switch {
	case err != nil:
		return op.t.fail(self.rank, err)
	case w == nil:
		msg := self.spare.get(o.tag, o.total)
		self.admit(messageOverhead + o.total)
		o.at.drain(msg.grow(o.total))
		msg.complete = true
		self.pairs.Keep(o.tag, o.total, msg)
		return nil
	}
	at := cursor{bufs: w.bufs}
	for _, b := range o.at.bufs {
		at.fill(b)
	}
	w.complete()
	return nil
}
