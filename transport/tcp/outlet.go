package tcp

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/switchyard-moe/switchyard/transport"
)

// copyBelow is the length up to which a payload is copied behind its header and written in one piece, which
// costs less than a second vector.
const copyBelow = 4 << 10

// outlet is the sending half of a data lane. All but writing and queue belongs to whoever holds the lane.
type outlet struct {
	writing atomic.Bool // the lane is held
	seq     uint64      // frames begun
	scratch []byte      // the header of the frame under way, and a small payload
	vec     [maxVectors + 1][]byte

	mu    sync.Mutex
	queue []*operation // who wants the lane next
}

// outgoing is one message being sent.
type outgoing struct {
	p     *peer
	tag   transport.Tag
	at    cursor
	total int
	next  int32 // the following message of the operation to the same peer, or none

	framed  int  // bytes of the message in frames begun
	head    int  // bytes of scratch written
	headLen int  // bytes of scratch to write; 0 between frames
	left    int  // payload bytes of the frame still to be written from at
	holds   bool // the lane is ours
	started bool // a byte has moved
}

// push writes as much of the message as the kernel takes, at most about budget bytes. It returns the bytes
// moved and whether the message is done.
func (o *outgoing) push(op *operation, budget int) (moved int, done bool, err error) {
	if !o.holds && !o.acquire(op) {
		return 0, false, nil
	}
	for moved < budget {
		if o.headLen == 0 {
			o.frame()
		}
		n, full, err := o.write()
		moved += n
		if err != nil {
			if errors.Is(err, errAgain) {
				err = nil
			}
			return moved, false, err
		}
		if o.headLen == 0 && o.framed == o.total {
			o.release()
			return moved, true, nil
		}
		if full {
			return moved, false, nil
		}
	}
	return moved, false, nil
}

// acquire takes the lane, or queues op for it.
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
	for _, queued := range out.queue {
		if queued == op {
			return false
		}
	}
	out.queue = append(out.queue, op)
	return false
}

// release gives the lane up and wakes everybody who wants it: each looks again.
func (o *outgoing) release() {
	o.holds = false
	o.p.out.writing.Store(false)
	o.p.out.rouse()
}

func (out *outlet) rouse() {
	out.mu.Lock()
	defer out.mu.Unlock()
	for i, op := range out.queue {
		op.wake()
		out.queue[i] = nil
	}
	out.queue = out.queue[:0]
}

// frame prepares the next frame of the message in scratch. Its number is taken only once a byte is written,
// so that a message given up before that leaves no gap.
func (o *outgoing) frame() {
	out := &o.p.out
	n := min(o.total-o.framed, maxFramePayload)
	h := header{
		kind: kindData, epoch: o.p.t.cfg.Epoch, length: uint32(n), tag: o.tag,
		seq: out.seq + 1, message: uint64(o.total),
	}
	if o.p.in.summed {
		h.sum = o.at.sum(0, n)
	}
	h.put(out.scratch)
	o.head, o.headLen, o.left = 0, headerBytes, n
	if n <= copyBelow {
		o.at.drain(out.scratch[headerBytes : headerBytes+n])
		o.headLen, o.left = headerBytes+n, 0
	}
	o.framed += n
}

// write hands the kernel what is left of the frame. full reports that it did not take everything.
func (o *outgoing) write() (n int, full bool, err error) {
	out := &o.p.out
	vec := out.vec[:0]
	if o.head < o.headLen {
		vec = append(vec, out.scratch[o.head:o.headLen])
	}
	vec = o.at.next(vec, o.left)
	if n, err = o.p.data.writev(vec, o.framed < o.total); err != nil {
		return 0, true, err
	}
	if o.head == 0 {
		out.seq++
		o.started = true
	}
	full = n < total(vec)
	header := min(n, o.headLen-o.head)
	o.head += header
	o.at.skip(n - header)
	if o.left -= n - header; o.head == o.headLen && o.left == 0 {
		o.headLen = 0
	}
	return n, full, nil
}
