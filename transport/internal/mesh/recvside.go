package mesh

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// readAhead is the most that is read beyond what is known to come. Small messages arrive with
	// their headers in one system call; of a large one at most this much is copied once more.
	readAhead = 16 << 10
	// maxVectors bounds the pieces of one system call; more pieces take more calls.
	maxVectors = 64
)

// recvSide is the receiving half of a data stream. All of it but reading belongs to the holder of
// the reader role.
type recvSide struct {
	reading   atomic.Bool // the reader role
	summed    bool        // payloads carry a checksum; never changes
	abandoned bool        // nobody reads on: the message under way has lost its receiver

	buf     []byte // bytes read ahead are buf[r:w]
	r, w    int
	drained bool // the last read left nothing behind

	seq     uint64 // frames opened
	open    bool   // head is the frame under way
	routed  bool   // its payload has a destination
	located bool   // the message is in place, and its segments are known
	head    header
	left    int    // payload bytes of the frame still to come
	sum     uint32 // of the message's bytes that have come

	got    int      // bytes of the message that came in earlier frames
	waiter *waiter  // where the message goes: either this,
	msg    *message // or this, or undecided
	dst    cursor
	one    [1][]byte

	list     []byte   // of a message in place: where it lies
	listed   int      // bytes of list that have come
	segments [][]byte // the peer's memory that it names
	from     cursor   // over segments

	vec [maxVectors + 1][]byte
}

// errStalled: the next frame has nowhere to go.
var errStalled = errors.New("nobody asked for the next message and the bound is reached")

// tryRead takes the reader role if it is free.
func (p *peer) tryRead() bool { return p.in.reading.CompareAndSwap(false, true) }

// endRead gives the role up and wakes the next operation that waits for it.
func (p *peer) endRead() {
	p.in.reading.Store(false)
	p.wake(false)
}

// endStalled gives the role up because the next frame has nowhere to go. No other operation could
// do better, except one that has asked for that message since.
func (p *peer) endStalled() {
	tag, msg := p.in.head.tag, p.in.msg
	p.in.reading.Store(false)
	p.wakeFor(tag, msg)
}

// pump reads from p until nothing is left, budget bytes have moved or src needs no more, and
// returns how many bytes moved. The caller holds the reader role.
func (p *peer) pump(src *source, budget int) (int, error) {
	moved := 0
	p.in.drained = false
	for moved < budget && src.pending.Load() > 0 {
		n, err := p.pumpOnce()
		moved += n
		if err != nil {
			if errors.Is(err, ErrAgain) {
				err = nil
			}
			p.hear(moved)
			return moved, err
		}
	}
	p.hear(moved)
	return moved, nil
}

// hear notes that bytes have come: the peer is alive, even where its signs of life wait for a
// processor, here or there.
func (p *peer) hear(bytes int) {
	if bytes > 0 && !p.heard.Load() {
		p.heard.Store(true)
	}
}

// pumpOnce does one step of reading.
func (p *peer) pumpOnce() (int, error) {
	in := &p.in
	switch {
	case in.abandoned:
		return 0, errAbandoned
	case !in.open && in.w-in.r < headerBytes:
		return in.readAhead(p.data)
	case !in.open:
		return headerBytes, p.openFrame()
	case in.head.kind == kindInPlace && !in.located:
		return p.locate()
	case !in.routed:
		if err := p.route(); err != nil {
			return 0, err
		}
		return 1, nil
	case in.left > 0 && in.head.kind == kindInPlace:
		return in.fetch(), nil
	case in.left > 0:
		return in.payload(p.data)
	}
	return 1, p.closeFrame()
}

// awaitBytes has s end its sleep when enough has come from p. The caller holds the reader role.
func (p *peer) awaitBytes(s *Sleeper) (ready bool) {
	in := &p.in
	if stream, ok := p.data.(LowWater); ok && in.open && in.routed && in.head.kind == kindData && in.left > 0 {
		return stream.AwaitBytes(s, in.left)
	}
	return p.data.AwaitRead(s)
}

// readAhead reads whatever comes next into the buffer.
func (in *recvSide) readAhead(l Stream) (int, error) {
	if in.drained {
		return 0, ErrAgain
	}
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	in.vec[0] = in.buf[in.w:]
	n, err := l.Read(in.vec[:1])
	in.drained = n < len(in.vec[0])
	in.w += n
	return n, err
}

// openFrame decodes and checks the header at hand.
func (p *peer) openFrame() error {
	in := &p.in
	h, err := decodeHeader(in.buf[in.r:])
	if err == nil {
		err = h.checkOrder(p.t.cfg.Epoch, in.seq+1)
	}
	if err == nil {
		err = h.checkData()
	}
	if err == nil && h.kind == kindInPlace {
		err = p.checkInPlace(&h)
	}
	if err == nil && in.got > 0 {
		err = in.checkContinues(&h)
	}
	if err != nil {
		return err
	}
	in.r += headerBytes
	in.seq++
	in.head, in.left, in.open, in.routed, in.located = h, int(h.length), true, false, false
	if in.got == 0 {
		in.sum = 0
	}
	if h.kind == kindData && !in.isLast() {
		return in.checkSum() // of the frames before
	}
	return nil
}

// checkContinues reports whether h goes on with the message that the frame before left unfinished.
func (in *recvSide) checkContinues(h *header) error {
	if h.kind != kindData || h.tag != in.head.tag || h.message != in.head.message || uint64(in.got)+uint64(h.length) > h.message {
		return fmt.Errorf("frame of tag %#x at byte %d of %d inside a message of tag %#x and %d bytes: %w",
			uint64(h.tag), in.got, h.message, uint64(in.head.tag), in.head.message, transport.ErrProtocol)
	}
	return nil
}

// payload moves what is at hand, or can be read at once, to its destination.
func (in *recvSide) payload(l Stream) (int, error) {
	if n := min(in.w-in.r, in.left); n > 0 {
		in.dst.fill(in.buf[in.r : in.r+n])
		if in.summed {
			in.sum = crc32c.Update(in.sum, in.buf[in.r:in.r+n])
		}
		in.r += n
		in.left -= n
		return n, nil
	}
	if in.drained {
		return 0, ErrAgain
	}
	in.r, in.w = 0, 0
	vec := in.dst.next(in.vec[:0:maxVectors], in.left)
	want := rows.SizeOf(vec)
	if want == in.left { // the header that follows comes with the payload's end
		vec = append(vec[:len(vec):len(vec)+1], in.buf[:headerBytes])
		want += headerBytes
	}
	n, err := l.Read(vec)
	if err != nil {
		return 0, err
	}
	in.drained = n < want
	got := min(n, in.left)
	if in.summed {
		in.sum = in.dst.sum(in.sum, got)
	}
	in.dst.skip(got)
	in.left -= got
	in.w = n - got
	return n, nil
}

// isLast reports whether the frame of data at hand ends its message.
func (in *recvSide) isLast() bool { return in.got+int(in.head.length) == int(in.head.message) }

// checkSum compares what has come of the message with what the header at hand states.
func (in *recvSide) checkSum() error {
	if in.sum == in.head.sum {
		return nil
	}
	return fmt.Errorf("message sums to %#08x, frame %d states %#08x: %w", in.sum, in.seq, in.head.sum, transport.ErrCorrupt)
}

// closeFrame checks the payload that came and ends the message if that was all of it.
func (p *peer) closeFrame() error {
	in := &p.in
	if in.head.kind == kindInPlace || in.isLast() {
		if err := in.checkSum(); err != nil {
			return err
		}
	}
	if in.located && !p.release() {
		return errRevoked
	}
	in.open = false
	if in.got += int(in.head.length); in.located {
		in.got = int(in.head.message)
	}
	if in.got < int(in.head.message) {
		return nil
	}
	in.got = 0
	w, msg := in.waiter, in.msg
	in.waiter, in.msg, in.dst, in.one[0] = nil, nil, cursor{}, nil
	if w == nil {
		w = p.finishUnexpected(msg)
	}
	if w != nil {
		w.complete()
	}
	return nil
}

// lost translates the end of the data stream into what is wrong with the peer.
func peerLost(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("connection ended: %w", transport.ErrPeerDead)
	}
	return fmt.Errorf("%w: %w", transport.ErrPeerDead, err)
}
