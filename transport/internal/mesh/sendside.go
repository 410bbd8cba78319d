package mesh

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// copyBelow is the length up to which a payload is copied behind its header and written in one
// piece, which costs less than a second vector.
const copyBelow = 4 << 10

// sendSide is the sending half of a data stream. All but writing and queue belongs to the
// operation that holds the stream.
type sendSide struct {
	writing atomic.Bool // the stream is held
	seq     uint64      // frames begun
	scratch []byte      // the header of the frame under way, and a small payload
	vec     [maxVectors + 1][]byte

	mu    sync.Mutex
	queue []*operation // those that want the stream next, or wait for a message in place to be taken

	inPlace  uint64 // messages sent in place
	segments []byte // where the message under way lies
	one      [1][]byte
}

// outgoing is one message being sent.
type outgoing struct {
	p     *peer
	tag   transport.Tag
	at    cursor
	total int
	next  int32 // the following message of the operation to the same peer, or none

	framed  int    // bytes of the message in frames begun
	sum     uint32 // of the bytes written, but for those of the last frame
	head    int    // bytes of scratch written
	headLen int    // bytes of scratch to write; 0 between frames
	left    int    // payload bytes of the frame still to be written from at
	holds   bool   // the stream is ours
	started bool   // a byte has moved

	inPlace bool   // the frame says where the message lies
	ticket  uint64 // its number among the messages in place, once the frame is written
}

// push writes as much of the message as the stream takes, at most about budget bytes. It returns
// the bytes moved and whether the message is done.
func (o *outgoing) push(op *operation, budget int) (moved int, done bool, err error) {
	if o.ticket > 0 {
		return 0, o.isTaken(op), nil
	}
	if !o.holds && !o.acquire(op) {
		return 0, false, nil
	}
	if o.isWritten() {
		done, err = o.conclude(op)
		return 0, done, err
	}
	for moved < budget {
		if o.headLen == 0 {
			o.frame()
		}
		n, full, err := o.write()
		moved += n
		if err != nil {
			if errors.Is(err, ErrAgain) {
				err = nil
			}
			return moved, false, err
		}
		if o.isWritten() {
			done, err = o.conclude(op)
			return moved, done, err
		}
		if full {
			return moved, false, nil
		}
	}
	return moved, false, nil
}

// isWritten reports whether the stream has taken all of the message.
func (o *outgoing) isWritten() bool { return o.started && o.headLen == 0 && o.framed == o.total }

// conclude gives the stream up once it holds nothing of the message back, and reports whether that
// ends the message.
func (o *outgoing) conclude(op *operation) (done bool, err error) {
	if err := o.p.data.Flush(); err != nil {
		if errors.Is(err, ErrAgain) {
			err = nil
		}
		return false, err
	}
	if o.inPlace {
		o.p.out.inPlace++
		o.ticket = o.p.out.inPlace
	}
	o.release()
	return !o.inPlace || o.isTaken(op), nil
}

// peerGone reports whether the receiver has closed before it took a message that has begun: none of
// its calls is left that could receive the rest. The stream is not relied on for that: memory does
// not report it, and a stream that waits for room may not either.
func (o *outgoing) peerGone() bool {
	if !o.started || !o.p.saidGoodbye.Load() {
		return false
	}
	return o.ticket == 0 || o.p.shared.Taken() < o.ticket
}

// awaitsStream reports whether the stream is what the message needs to go on.
func (o *outgoing) awaitsStream() bool { return o.holds || o.ticket > 0 }

// await has s end its sleep when the stream lets the message go on, and reports whether it does
// already.
func (o *outgoing) await(s *Sleeper) bool {
	if o.ticket > 0 {
		return o.p.shared.AwaitTaken(s, o.ticket)
	}
	return o.p.data.AwaitWrite(s)
}

// acquire takes the stream, or queues op for it.
func (o *outgoing) acquire(op *operation) bool {
	out := &o.p.out
	if out.writing.CompareAndSwap(false, true) {
		o.holds = true
		return true
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.writing.CompareAndSwap(false, true) {
		o.holds = true
		return true
	}
	out.enlist(op)
	return false
}

// enlist has op woken by the next wake. mu is held.
func (out *sendSide) enlist(op *operation) {
	for _, queued := range out.queue {
		if queued == op {
			return
		}
	}
	out.queue = append(out.queue, op)
}

// release gives the stream up and wakes all operations that want it: each tries again.
func (o *outgoing) release() {
	o.holds = false
	o.p.out.writing.Store(false)
	o.p.out.wake()
}

func (out *sendSide) wake() {
	out.mu.Lock()
	defer out.mu.Unlock()
	for i, op := range out.queue {
		op.Wake()
		out.queue[i] = nil
	}
	out.queue = out.queue[:0]
}

// frame prepares the next frame of the message in scratch. Its number is taken only once a byte is
// written, so that a message given up before that leaves no gap.
func (o *outgoing) frame() {
	out := &o.p.out
	if o.inPlace = o.frameInPlace(); o.inPlace {
		return
	}
	n := frameLength(o.total - o.framed)
	h := header{
		kind: kindData, epoch: o.p.t.cfg.Epoch, length: uint32(n), tag: o.tag,
		seq: out.seq + 1, message: uint64(o.total), sum: o.sum,
	}
	if o.isLast(n) && o.p.in.summed {
		h.sum = o.at.sum(o.sum, n)
	}
	h.put(out.scratch)
	o.head, o.headLen, o.left = 0, headerBytes, n
	if n <= copyBelow {
		o.at.drain(out.scratch[headerBytes : headerBytes+n])
		o.headLen, o.left = headerBytes+n, 0
	}
	o.framed += n
}

// frameLength is how many of the left bytes of a message its next frame takes: all, or as many as
// leave a short frame for the last one, whose bytes are summed before they are written.
func frameLength(left int) int {
	if left <= 2*tailBytes {
		return left
	}
	return min(left-tailBytes, maxFramePayload)
}

// isLast reports whether a frame of n bytes, the next one, ends the message.
func (o *outgoing) isLast(n int) bool { return o.framed+n == o.total }

// write hands the kernel what is left of the frame. full reports that it did not take everything.
func (o *outgoing) write() (n int, full bool, err error) {
	out := &o.p.out
	vec := out.vec[:0]
	if o.head < o.headLen {
		vec = append(vec, out.scratch[o.head:o.headLen])
	}
	vec = o.at.next(vec, o.left)
	if n, err = o.p.data.Write(vec, o.framed < o.total); err != nil {
		return 0, true, err
	}
	if o.head == 0 {
		out.seq++
		o.started = true
	}
	full = n < rows.SizeOf(vec)
	header := min(n, o.headLen-o.head)
	o.head += header
	if o.framed < o.total && o.p.in.summed { // the copy has just brought these bytes near
		o.sum = o.at.sum(o.sum, n-header)
	}
	o.at.skip(n - header)
	if o.left -= n - header; o.head == o.headLen && o.left == 0 {
		o.headLen = 0
	}
	return n, full, nil
}
