package meshjoin

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/transport"
)

// A stream opens with this hello from the rank that dials, answered by one from the rank that
// accepts. It has a fixed size and no length field, so nothing that another program sends is ever
// believed. Big-endian:
//
//	 0  uint32   magic "SWYH"
//	 4  uint16   version
//	 6  uint16   kind of stream: 1 data, 2 control
//	 8  uint32   size of the job
//	12  uint32   rank of the sender
//	16  uint32   rank it means to speak to
//	20  uint32   epoch
//	24  16 bytes session, drawn by rank 0 at the rendezvous
//	40  32 bytes SHA-256 of job and settings
//	72  uint32   CRC-32C of the 72 bytes before
const (
	helloMagic   = 0x53575948
	helloVersion = 1
	helloBytes   = 76
	helloSumAt   = 72
)

type streamKind uint16

const (
	dataStream    streamKind = 1
	controlStream streamKind = 2
)

type hello struct {
	kind     streamKind
	size     uint32
	from, to transport.Rank
	epoch    uint32
	session  [16]byte
	terms    [sha256.Size]byte
}

func (h *hello) put(b []byte) {
	binary.BigEndian.PutUint32(b, helloMagic)
	binary.BigEndian.PutUint16(b[4:], helloVersion)
	binary.BigEndian.PutUint16(b[6:], uint16(h.kind))
	binary.BigEndian.PutUint32(b[8:], h.size)
	binary.BigEndian.PutUint32(b[12:], uint32(h.from))
	binary.BigEndian.PutUint32(b[16:], uint32(h.to))
	binary.BigEndian.PutUint32(b[20:], h.epoch)
	copy(b[24:], h.session[:])
	copy(b[40:], h.terms[:])
	binary.BigEndian.PutUint32(b[helloSumAt:], crc32c.Update(0, b[:helloSumAt]))
}

// decodeHello decodes b, which has helloBytes bytes.
func decodeHello(b []byte) (hello, error) {
	if m := binary.BigEndian.Uint32(b); m != helloMagic {
		return hello{}, fmt.Errorf("hello magic %#08x, want %#08x: %w", m, uint32(helloMagic), transport.ErrProtocol)
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != helloVersion {
		return hello{}, fmt.Errorf("hello version %d, want %d: %w", v, helloVersion, transport.ErrMismatch)
	}
	if crc32c.Update(0, b[:helloSumAt]) != binary.BigEndian.Uint32(b[helloSumAt:]) {
		return hello{}, fmt.Errorf("hello with a wrong checksum: %w", transport.ErrCorrupt)
	}
	h := hello{
		kind:  streamKind(binary.BigEndian.Uint16(b[6:])),
		size:  binary.BigEndian.Uint32(b[8:]),
		from:  transport.Rank(binary.BigEndian.Uint32(b[12:])),
		to:    transport.Rank(binary.BigEndian.Uint32(b[16:])),
		epoch: binary.BigEndian.Uint32(b[20:]),
	}
	copy(h.session[:], b[24:])
	copy(h.terms[:], b[40:])
	return h, nil
}

func writeHello(w io.Writer, h *hello) error {
	var b [helloBytes]byte
	h.put(b[:])
	_, err := w.Write(b[:])
	return err
}

func readHello(r io.Reader) (hello, error) {
	var b [helloBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return hello{}, err
	}
	return decodeHello(b[:])
}

// check reports whether theirs can open a stream with the rank that would say mine.
func (h *hello) check(theirs *hello) error {
	mismatch := func(what string, mine, theirs any) error {
		return fmt.Errorf("hello with %s %v, here %v: %w", what, theirs, mine, transport.ErrMismatch)
	}
	switch {
	case theirs.size != h.size:
		return mismatch("world size", h.size, theirs.size)
	case theirs.epoch != h.epoch:
		return mismatch("epoch", h.epoch, theirs.epoch)
	case theirs.session != h.session:
		return mismatch("session", fmt.Sprintf("%x", h.session), fmt.Sprintf("%x", theirs.session))
	case theirs.terms != h.terms:
		return mismatch("configuration digest", fmt.Sprintf("%x", h.terms[:8]), fmt.Sprintf("%x", theirs.terms[:8]))
	case theirs.to != h.from:
		return mismatch("receiver", h.from, theirs.to)
	case theirs.from < 0 || theirs.from >= transport.Rank(h.size) || theirs.from == h.from:
		return mismatch("rank", h.from, theirs.from)
	case theirs.kind != dataStream && theirs.kind != controlStream:
		return mismatch("stream kind", "1 or 2", theirs.kind)
	}
	return nil
}
