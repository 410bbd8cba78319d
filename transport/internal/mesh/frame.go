package mesh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/transport"
)

// A frame is this header, big-endian, and then its payload:
//
//	 0  uint32  magic "SWYF"
//	 4  uint8   version
//	 5  uint8   kind
//	 6  uint16  zero
//	 8  uint32  epoch of the job
//	12  uint32  payload length in bytes
//	16  uint64  tag
//	24  uint64  sequence number on this stream and direction, from 1
//	32  uint64  length of the whole message in bytes
//	40  uint32  CRC-32C of the message's bytes before this frame, in its last frame with that
//	            frame's own; or zero on a stream without payload sums
//	44  uint32  CRC-32C of the 44 bytes before
//
// The sum of the frames before can be taken right after the system call that has copied their
// bytes, while these are still in a cache. A message is not delivered before the sum of all of it
// has been found right.
const (
	frameMagic   = 0x53575946
	frameVersion = 3
	headerBytes  = 48
	headerSumAt  = 44
)

const (
	// maxFramePayload bounds a frame of data, and longer messages are cut into frames of this length.
	// Shorter frames take more packets and system calls; 64, 128 and 256 KiB were all slower than 1
	// MiB.
	maxFramePayload = 1 << 20
	// tailBytes is the length of the last frame of a message of more than twice as much.
	tailBytes = 32 << 10
)

type frameKind uint8

const (
	kindData      frameKind = 1 // part or whole of a message
	kindHeartbeat frameKind = 2 // "I am here"; no payload
	kindFarewell  frameKind = 3 // an orderly Close; no payload
	kindAbort     frameKind = 4 // the sender's transport broke; payload in control.go
	kindInPlace   frameKind = 5 // where a whole message lies in shared memory; payload in inplace.go
	kindStatement frameKind = 6 // what the program above is doing; payload of transport.Program
)

// header is the decoded form of a frame's header.
type header struct {
	kind    frameKind
	epoch   uint32
	length  uint32
	tag     transport.Tag
	seq     uint64
	message uint64
	sum     uint32
}

// put encodes h into b, which has room for headerBytes.
func (h *header) put(b []byte) {
	_ = b[headerBytes-1]
	binary.BigEndian.PutUint32(b, frameMagic)
	b[4], b[5], b[6], b[7] = frameVersion, byte(h.kind), 0, 0
	binary.BigEndian.PutUint32(b[8:], h.epoch)
	binary.BigEndian.PutUint32(b[12:], h.length)
	binary.BigEndian.PutUint64(b[16:], uint64(h.tag))
	binary.BigEndian.PutUint64(b[24:], h.seq)
	binary.BigEndian.PutUint64(b[32:], h.message)
	binary.BigEndian.PutUint32(b[40:], h.sum)
	binary.BigEndian.PutUint32(b[headerSumAt:], crc32c.Update(0, b[:headerSumAt]))
}

var errShortHeader = errors.New("short frame header")

// decodeHeader decodes the first headerBytes of b. It checks what needs no knowledge of the stream:
// magic, version, the header's own sum, the reserved bytes and that the kind is known.
func decodeHeader(b []byte) (header, error) {
	if len(b) < headerBytes {
		return header{}, fmt.Errorf("%w: %d of %d bytes", errShortHeader, len(b), headerBytes)
	}
	if m := binary.BigEndian.Uint32(b); m != frameMagic {
		return header{}, fmt.Errorf("frame magic %#08x, want %#08x: %w", m, uint32(frameMagic), transport.ErrCorrupt)
	}
	want := binary.BigEndian.Uint32(b[headerSumAt:])
	if got := crc32c.Update(0, b[:headerSumAt]); got != want {
		return header{}, fmt.Errorf("frame header sums to %#08x, states %#08x: %w", got, want, transport.ErrCorrupt)
	}
	if b[4] != frameVersion {
		return header{}, fmt.Errorf("frame version %d, want %d: %w", b[4], frameVersion, transport.ErrProtocol)
	}
	h := header{
		kind:    frameKind(b[5]),
		epoch:   binary.BigEndian.Uint32(b[8:]),
		length:  binary.BigEndian.Uint32(b[12:]),
		tag:     transport.Tag(binary.BigEndian.Uint64(b[16:])),
		seq:     binary.BigEndian.Uint64(b[24:]),
		message: binary.BigEndian.Uint64(b[32:]),
		sum:     binary.BigEndian.Uint32(b[40:]),
	}
	if h.kind < kindData || h.kind > kindStatement {
		return header{}, fmt.Errorf("frame of unknown kind %d: %w", h.kind, transport.ErrProtocol)
	}
	if b[6] != 0 || b[7] != 0 {
		return header{}, fmt.Errorf("frame with reserved bytes %#02x%02x set: %w", b[6], b[7], transport.ErrProtocol)
	}
	return h, nil
}

// checkOrder reports whether h may be frame number seq of a stream of this epoch.
func (h *header) checkOrder(epoch uint32, seq uint64) error {
	if h.epoch != epoch {
		return fmt.Errorf("frame of epoch %d in epoch %d: %w", h.epoch, epoch, transport.ErrProtocol)
	}
	if h.seq != seq {
		return fmt.Errorf("frame number %d where %d is due: %w", h.seq, seq, transport.ErrCorrupt)
	}
	return nil
}

// checkData reports whether h can be a frame of data. A message may be as long as an int counts:
// what a peer announces reserves nothing, since bytes go to the receiver's buffers, or within
// MaxUnexpectedBytes to memory taken frame by frame.
func (h *header) checkData() error {
	switch {
	case h.kind != kindData && h.kind != kindInPlace:
		return fmt.Errorf("frame of kind %d on the data stream: %w", h.kind, transport.ErrProtocol)
	case h.message > math.MaxInt:
		return fmt.Errorf("message of %d bytes, limit %d: %w", h.message, math.MaxInt, transport.ErrTooLarge)
	case h.length > maxFramePayload || (h.kind == kindData && uint64(h.length) > h.message):
		return fmt.Errorf("frame of %d bytes in a message of %d, limit %d: %w",
			h.length, h.message, maxFramePayload, transport.ErrProtocol)
	case h.length == 0 && h.message > 0:
		return fmt.Errorf("empty frame in a message of %d bytes: %w", h.message, transport.ErrProtocol)
	}
	return nil
}
