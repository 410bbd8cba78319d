package mpi

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/transport"
)

// kind is the kind of a frame.
type kind uint8

const (
	kindEager    kind = 1 + iota // a message, whole
	kindAnnounce                 // a message whose bytes follow in transfers
	kindCredit                   // only the header's credit
	kindAbort                    // the sender's transport is broken; the payload says why
	kindFarewell                 // the sender's transport is closed
	kindEnd
)

const (
	version     = 1
	headerBytes = 32
)

// header begins every frame, in little-endian:
//
//	0  kind, version, two bytes of zero
//	4  credit: bytes of room for eager messages given back to the receiver of the frame
//	8  tag
//	16 length of the message, which follows in an eager frame; of the reason in an abort
//	24 number of an announced message's first transfer among those of its sender to its receiver,
//	   from 1; the culprit + 1 in an abort
type header struct {
	kind   kind
	credit uint32
	tag    transport.Tag
	bytes  uint64
	id     uint64
}

func (h header) put(b []byte) {
	_ = b[headerBytes-1]
	binary.LittleEndian.PutUint32(b, uint32(h.kind)|version<<8)
	binary.LittleEndian.PutUint32(b[4:], h.credit)
	binary.LittleEndian.PutUint64(b[8:], uint64(h.tag))
	binary.LittleEndian.PutUint64(b[16:], h.bytes)
	binary.LittleEndian.PutUint64(b[24:], h.id)
}

// isAbort reports whether an unchecked frame is an abort.
func isAbort(frame []byte) bool { return len(frame) > 0 && kind(frame[0]) == kindAbort }

// parse decodes a frame. The payload is part of frame.
func parse(frame []byte) (h header, payload []byte, err error) {
	if len(frame) < headerBytes {
		return h, nil, fmt.Errorf("frame of %d bytes, want at least %d: %w", len(frame), headerBytes, transport.ErrProtocol)
	}
	first := binary.LittleEndian.Uint32(frame)
	h = header{
		kind:   kind(first),
		credit: binary.LittleEndian.Uint32(frame[4:]),
		tag:    transport.Tag(binary.LittleEndian.Uint64(frame[8:])),
		bytes:  binary.LittleEndian.Uint64(frame[16:]),
		id:     binary.LittleEndian.Uint64(frame[24:]),
	}
	if h.kind < kindEager || h.kind >= kindEnd || first>>8 != version {
		return h, nil, fmt.Errorf("frame begins with %#x: %w", first, transport.ErrProtocol)
	}
	payload = frame[headerBytes:]
	return h, payload, h.check(len(payload))
}

// check returns an error if the lengths are impossible.
func (h header) check(payload int) error {
	follows := uint64(0)
	if h.kind == kindEager || h.kind == kindAbort {
		follows = h.bytes
	}
	if uint64(payload) != follows {
		return fmt.Errorf("frame of kind %d with %d bytes after its header, want %d: %w", h.kind, payload, follows, transport.ErrProtocol)
	}
	if h.kind <= kindAnnounce && h.bytes > math.MaxInt {
		return fmt.Errorf("message of %d bytes, tag %#x, limit %d: %w", h.bytes, uint64(h.tag), math.MaxInt, transport.ErrTooLarge)
	}
	return nil
}
