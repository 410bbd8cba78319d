package striped

import (
	"encoding/binary"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/transport"
)

// A frame is one message of a link: a header and a payload. All numbers are big-endian.
//
//	 0  magic     4  "SYSt"
//	 4  version   1
//	 5  kind      1
//	 6  k         1  data stripes of a block
//	 7  m         1  further stripes of a block
//	 8  message   8  number of the message between two ranks, from 0; in an end frame, the number
//	                 of messages that there were
//	16  tag       8
//	24  total     8  length of the message
//	32  block     4
//	36  stripe    4
//	40  length    4  of the payload
//	44  sum       4  CRC-32C of the payload
//	48  zero     12
//	60  own sum   4  CRC-32C of all before
const (
	headerBytes = 64
	ownSumAt    = 60
	magic       = 0x53595374
	version     = 1
)

type frameKind uint8

const (
	kindStripe frameKind = 1 + iota
	kindEnd              // nothing follows on this link; the payload says why, if not in good order
	kindAlive            // nothing but a sign of life
)

type header struct {
	kind          frameKind
	k, m          uint8
	message       uint64
	tag           transport.Tag
	total         uint64
	block, stripe uint32
	length, sum   uint32
}

// put writes h over the first bytes of b.
func (h *header) put(b []byte) {
	binary.BigEndian.PutUint32(b[0:], magic)
	b[4], b[5], b[6], b[7] = version, byte(h.kind), h.k, h.m
	binary.BigEndian.PutUint64(b[8:], h.message)
	binary.BigEndian.PutUint64(b[16:], uint64(h.tag))
	binary.BigEndian.PutUint64(b[24:], h.total)
	binary.BigEndian.PutUint32(b[32:], h.block)
	binary.BigEndian.PutUint32(b[36:], h.stripe)
	binary.BigEndian.PutUint32(b[40:], h.length)
	binary.BigEndian.PutUint32(b[44:], h.sum)
	clear(b[48:ownSumAt])
	binary.BigEndian.PutUint32(b[ownSumAt:], crc32c.Update(0, b[:ownSumAt]))
}

// decodeFrame decodes the header of frame and checks it by itself, but not the sum of the payload.
// The error is [transport.ErrCorrupt] if the header is not what was sent, [transport.ErrProtocol]
// if it is invalid.
func decodeFrame(frame []byte) (header, []byte, error) {
	if len(frame) < headerBytes {
		return header{}, nil, fmt.Errorf("frame of %d bytes, want at least %d: %w", len(frame), headerBytes, transport.ErrCorrupt)
	}
	if sum, own := crc32c.Update(0, frame[:ownSumAt]), binary.BigEndian.Uint32(frame[ownSumAt:]); sum != own {
		return header{}, nil, fmt.Errorf("frame header sums to %#08x, states %#08x: %w", sum, own, transport.ErrCorrupt)
	}
	if got := binary.BigEndian.Uint32(frame); got != magic || frame[4] != version {
		return header{}, nil, fmt.Errorf("frame with magic %#08x, version %d; want %#08x, %d: %w",
			got, frame[4], magic, version, transport.ErrProtocol)
	}
	h := header{
		kind: frameKind(frame[5]), k: frame[6], m: frame[7],
		message: binary.BigEndian.Uint64(frame[8:]),
		tag:     transport.Tag(binary.BigEndian.Uint64(frame[16:])),
		total:   binary.BigEndian.Uint64(frame[24:]),
		block:   binary.BigEndian.Uint32(frame[32:]),
		stripe:  binary.BigEndian.Uint32(frame[36:]),
		length:  binary.BigEndian.Uint32(frame[40:]),
		sum:     binary.BigEndian.Uint32(frame[44:]),
	}
	payload := frame[headerBytes:]
	switch {
	case h.kind < kindStripe || h.kind > kindAlive:
		return header{}, nil, fmt.Errorf("frame of kind %d: %w", h.kind, transport.ErrProtocol)
	case uint64(len(payload)) != uint64(h.length):
		return header{}, nil, fmt.Errorf("frame with %d bytes of payload, states %d: %w", len(payload), h.length, transport.ErrCorrupt)
	}
	return h, payload, nil
}

// intact reports whether payload is what the sender summed.
func (h *header) intact(payload []byte) bool { return sumOf(payload) == h.sum }

// check checks a stripe that arrived on link against the shape that its message must have.
func (h *header) check(c *Config, links, link int) (shape, error) {
	if most := c.longest(links - c.Parity); h.total > most {
		return shape{}, fmt.Errorf("message %d, tag %#x, of %d bytes, limit %d: %w",
			h.message, uint64(h.tag), h.total, most, transport.ErrTooLarge)
	}
	s := c.cut(int(h.total), links-c.Parity)
	stripe := link
	if s.k == 1 {
		stripe = 0
	}
	switch {
	case int(h.k) != s.k || int(h.m) != c.Parity:
		return shape{}, fmt.Errorf("message of %d bytes in %d+%d stripes, want %d+%d: %w",
			h.total, h.k, h.m, s.k, c.Parity, transport.ErrProtocol)
	case uint64(h.block) >= uint64(s.blocks()):
		return shape{}, fmt.Errorf("block %d of %d: %w", h.block, s.blocks(), transport.ErrProtocol)
	case int64(h.stripe) != int64(stripe):
		return shape{}, fmt.Errorf("stripe %d on link %d, want %d: %w", h.stripe, link, stripe, transport.ErrProtocol)
	case int(h.length) != s.length(int(h.block)):
		return shape{}, fmt.Errorf("stripe of %d bytes in block %d of a message of %d, want %d: %w",
			h.length, h.block, h.total, s.length(int(h.block)), transport.ErrProtocol)
	}
	return s, nil
}

func sumOf(payload []byte) uint32 { return crc32c.Update(0, payload) }
