//go:build linux && !purego

package shmstream

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/identity"
)

// A connection opens with this hello from the rank that dials, answered by one from the rank that
// accepts. It has a fixed size. Big-endian:
//
//	 0  uint32   magic "SWYM"
//	 4  uint32   version
//	 8  64 bytes identity of the sender, see package identity
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
	helloBlockAt = 8
	helloBytes   = 88
)

// hello is what a rank says of itself.
type hello struct {
	identity.Block
	arenaBytes uint64
	ringBytes  uint32
}

func (h *hello) put(b []byte) {
	binary.BigEndian.PutUint32(b, helloMagic)
	binary.BigEndian.PutUint32(b[4:], helloVersion)
	h.Put(b[helloBlockAt:])
	binary.BigEndian.PutUint64(b[72:], h.arenaBytes)
	binary.BigEndian.PutUint32(b[80:], h.ringBytes)
	identity.Seal(b)
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
	if err := identity.CheckSeal(b); err != nil {
		return hello{}, err
	}
	return hello{
		Block:      identity.Decode(b[helloBlockAt:]),
		arenaBytes: binary.BigEndian.Uint64(b[72:]),
		ringBytes:  binary.BigEndian.Uint32(b[80:]),
	}, nil
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

// check reports why theirs cannot share a stream with the rank that would say h, or nil.
func (h *hello) check(theirs *hello) error {
	if err := h.Check(&theirs.Block); err != nil {
		return err
	}
	switch {
	case theirs.ringBytes != h.ringBytes:
		return identity.Mismatch("ring size", theirs.ringBytes, h.ringBytes)
	case theirs.arenaBytes > maxArenaBytes:
		return identity.Mismatch("arena size", theirs.arenaBytes, fmt.Sprintf("a limit of %d", uint64(maxArenaBytes)))
	}
	return nil
}
