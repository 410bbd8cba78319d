//go:build linux && !purego

package shmstream

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/transport"
)

// A connection opens with this hello from the rank that dials, answered by one from the rank that
// accepts. It has a fixed size. Big-endian:
//
//	 0  uint32   magic "SWYM"
//	 4  uint32   version
//	 8  uint32   size of the job
//	12  uint32   rank of the sender
//	16  uint32   rank it means to speak to
//	20  uint32   epoch
//	24  16 bytes session, drawn by rank 0 at the rendezvous
//	40  32 bytes SHA-256 of job and settings
//	72  uint64   bytes of the sender's arena
//	80  uint32   bytes of a ring
//	84  uint32   CRC-32C of the 84 bytes before
//
// Descriptors follow, with one byte each way: from the rank that dials the stream's memory, its
// arena and four bells; from the other its arena. Then the rank that dials says with one byte that
// it has mapped everything. A rank that cannot go on says why instead (refusal.go).
const (
	helloMagic   = 0x5357594d
	helloVersion = 2
	helloBytes   = 88
	helloSumAt   = 84
)

// hello is what a rank says of itself.
type hello struct {
	size       uint32
	from, to   transport.Rank
	epoch      uint32
	session    [16]byte
	terms      [sha256.Size]byte
	arenaBytes uint64
	ringBytes  uint32
}

func (h *hello) put(b []byte) {
	binary.BigEndian.PutUint32(b, helloMagic)
	binary.BigEndian.PutUint32(b[4:], helloVersion)
	binary.BigEndian.PutUint32(b[8:], h.size)
	binary.BigEndian.PutUint32(b[12:], uint32(h.from))
	binary.BigEndian.PutUint32(b[16:], uint32(h.to))
	binary.BigEndian.PutUint32(b[20:], h.epoch)
	copy(b[24:], h.session[:])
	copy(b[40:], h.terms[:])
	binary.BigEndian.PutUint64(b[72:], h.arenaBytes)
	binary.BigEndian.PutUint32(b[80:], h.ringBytes)
	binary.BigEndian.PutUint32(b[helloSumAt:], crc32c.Update(0, b[:helloSumAt]))
}

// decodeHello decodes b, which has helloBytes bytes.
func decodeHello(b []byte) (hello, error) {
	if m := binary.BigEndian.Uint32(b); m == refusalMagic {
		return hello{}, readRefusal(b)
	} else if m != helloMagic {
		return hello{}, fmt.Errorf("hello magic %#08x, want %#08x: %w", m, uint32(helloMagic), transport.ErrProtocol)
	}
	if v := binary.BigEndian.Uint32(b[4:]); v != helloVersion {
		return hello{}, fmt.Errorf("hello version %d, want %d: %w", v, helloVersion, transport.ErrMismatch)
	}
	if crc32c.Update(0, b[:helloSumAt]) != binary.BigEndian.Uint32(b[helloSumAt:]) {
		return hello{}, fmt.Errorf("hello with a wrong checksum: %w", transport.ErrCorrupt)
	}
	h := hello{
		size:       binary.BigEndian.Uint32(b[8:]),
		from:       transport.Rank(binary.BigEndian.Uint32(b[12:])),
		to:         transport.Rank(binary.BigEndian.Uint32(b[16:])),
		epoch:      binary.BigEndian.Uint32(b[20:]),
		arenaBytes: binary.BigEndian.Uint64(b[72:]),
		ringBytes:  binary.BigEndian.Uint32(b[80:]),
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

// check reports whether theirs can share a stream with the rank that would say mine.
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
	case theirs.ringBytes != h.ringBytes:
		return mismatch("ring size", h.ringBytes, theirs.ringBytes)
	case theirs.arenaBytes > maxArenaBytes:
		return mismatch("arena size", fmt.Sprintf("a limit of %d", uint64(maxArenaBytes)), theirs.arenaBytes)
	}
	return nil
}
