package mesh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// inPlaceFrom is the length from which a message in shared memory is sent in place: the sender
	// then waits until the receiver has copied it, which for shorter ones costs more than copying
	// twice.
	inPlaceFrom = 16 << 10
	// segmentBytes is one segment on the wire: offset and length, big-endian uint64 each.
	segmentBytes = 16
)

// errRevoked: the peer's operation ended, so its memory may have changed while it was read.
var errRevoked = errors.New("the peer took the message back")

// frameInPlace makes the next frame one that says where the message lies, if the receiver can read
// it there.
func (o *outgoing) frameInPlace() bool {
	if o.p.shared == nil || o.total < inPlaceFrom || o.framed > 0 {
		return false
	}
	out := &o.p.out
	out.segments = out.segments[:0]
	for _, b := range o.at.bufs {
		if len(b) == 0 {
			continue
		}
		offset, ok := o.p.shared.Offset(b)
		if !ok || len(out.segments)+segmentBytes > maxFramePayload {
			return false
		}
		out.segments = binary.BigEndian.AppendUint64(out.segments, offset)
		out.segments = binary.BigEndian.AppendUint64(out.segments, uint64(len(b)))
	}
	n := len(out.segments)
	h := header{
		kind: kindInPlace, epoch: o.p.t.cfg.Epoch, length: uint32(n), tag: o.tag,
		seq: out.seq + 1, message: uint64(o.total),
	}
	h.put(out.scratch)
	out.one[0] = out.segments
	o.at = cursor{bufs: out.one[:]}
	o.head, o.headLen, o.left, o.framed = 0, headerBytes, n, o.total
	return true
}

// isTaken reports whether the receiver has copied the message, and has op woken when that may have
// changed.
func (o *outgoing) isTaken(op *operation) bool {
	if o.p.shared.Taken() >= o.ticket {
		return true
	}
	out := &o.p.out
	out.mu.Lock()
	defer out.mu.Unlock()
	out.enlist(op)
	return false
}

// checkInPlace reports why h cannot announce a message in place, or nil.
func (p *peer) checkInPlace(h *header) error {
	if p.shared == nil || p.in.got > 0 || h.length == 0 || h.length%segmentBytes != 0 || h.sum != 0 {
		return fmt.Errorf("message in place of %d bytes in %d bytes of segments, %d bytes into another: %w",
			h.message, h.length, p.in.got, transport.ErrProtocol)
	}
	return nil
}

// locate reads where the open message lies, and checks it, once.
func (p *peer) locate() (int, error) {
	in := &p.in
	if in.listed == 0 {
		in.list = slices.Grow(in.list[:0], int(in.head.length))[:in.head.length]
	}
	n, err := in.readList(p.data)
	if err != nil || in.listed < len(in.list) {
		return n, err
	}
	in.listed = 0
	in.segments = in.segments[:0]
	left := in.head.message
	for at := 0; at < len(in.list); at += segmentBytes {
		offset, length := binary.BigEndian.Uint64(in.list[at:]), binary.BigEndian.Uint64(in.list[at+8:])
		if length == 0 || length > left {
			return n, fmt.Errorf("segment %d of %d bytes where %d of the message's %d are left: %w",
				at/segmentBytes, length, left, in.head.message, transport.ErrProtocol)
		}
		view, err := p.shared.View(offset, length)
		if err != nil {
			return n, fmt.Errorf("segment %d: %w: %w", at/segmentBytes, err, transport.ErrProtocol)
		}
		in.segments = append(in.segments, view)
		left -= length
	}
	if left > 0 {
		return n, fmt.Errorf("segments lack %d of the message's %d bytes: %w", left, in.head.message, transport.ErrProtocol)
	}
	in.from = cursor{bufs: in.segments}
	in.left, in.located = int(in.head.message), true
	return n, nil
}

// readList moves what is at hand, or can be read at once, to the list.
func (in *recvSide) readList(l Stream) (int, error) {
	rest := in.list[in.listed:]
	if n := copy(rest, in.buf[in.r:in.w]); n > 0 {
		in.r += n
		in.listed += n
		return n, nil
	}
	in.vec[0] = rest
	n, err := l.Read(in.vec[:1])
	in.listed += n
	return n, err
}

// fetch copies the next bytes of a message in place from the peer's memory to its destination, and
// returns how much.
func (in *recvSide) fetch() int {
	n := 0
	for n < turnBytes && in.left > 0 {
		src := in.from.next(in.vec[:0:1], in.left)[0]
		dst := in.dst.next(in.vec[1:1:2], len(src))[0]
		k := copy(dst, src)
		in.from.skip(k)
		in.dst.skip(k)
		in.left -= k
		n += k
	}
	return n
}

// release gives a message in place that has been copied back to the peer, and reports whether it
// was still unchanged when it was copied.
func (p *peer) release() bool {
	clear(p.in.segments)
	if p.shared.Revoked() {
		return false
	}
	p.shared.Took()
	return true
}
