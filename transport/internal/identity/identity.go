// Package identity is the part of a hello that is the same over TCP and shared memory: which rank
// speaks to which other one, and what both take to be agreed.
package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/transport"
)

// Bytes is the length of a [Block] on the wire. It holds no length, so nothing that another program
// sends is ever believed. Big-endian:
//
//	 0  uint32   size of the job
//	 4  uint32   rank of the sender
//	 8  uint32   rank it means to speak to
//	12  uint32   epoch
//	16  16 bytes session, drawn by rank 0 at the rendezvous
//	32  32 bytes SHA-256 of job and settings
const Bytes = 64

// Block is what a rank says of itself and of its job.
type Block struct {
	Size     uint32
	From, To transport.Rank
	Epoch    uint32
	Session  [16]byte
	Terms    [sha256.Size]byte
}

// Put encodes the block into b, which has room for it.
func (m *Block) Put(b []byte) {
	binary.BigEndian.PutUint32(b, m.Size)
	binary.BigEndian.PutUint32(b[4:], uint32(m.From))
	binary.BigEndian.PutUint32(b[8:], uint32(m.To))
	binary.BigEndian.PutUint32(b[12:], m.Epoch)
	copy(b[16:32], m.Session[:])
	copy(b[32:Bytes], m.Terms[:])
}

// Decode decodes the block at the start of b.
func Decode(b []byte) Block {
	m := Block{
		Size:  binary.BigEndian.Uint32(b),
		From:  transport.Rank(binary.BigEndian.Uint32(b[4:])),
		To:    transport.Rank(binary.BigEndian.Uint32(b[8:])),
		Epoch: binary.BigEndian.Uint32(b[12:]),
	}
	copy(m.Session[:], b[16:])
	copy(m.Terms[:], b[32:])
	return m
}

// Check reports why the rank that says theirs cannot speak to the one that says m, or nil.
func (m *Block) Check(theirs *Block) error {
	switch {
	case theirs.Size != m.Size:
		return Mismatch("world size", theirs.Size, m.Size)
	case theirs.Epoch != m.Epoch:
		return Mismatch("epoch", theirs.Epoch, m.Epoch)
	case theirs.Session != m.Session:
		return Mismatch("session", fmt.Sprintf("%x", theirs.Session), fmt.Sprintf("%x", m.Session))
	case theirs.Terms != m.Terms:
		return Mismatch("configuration digest", fmt.Sprintf("%x", theirs.Terms[:8]), fmt.Sprintf("%x", m.Terms[:8]))
	case theirs.To != m.From:
		return Mismatch("receiver", theirs.To, m.From)
	case theirs.From < 0 || theirs.From >= transport.Rank(m.Size) || theirs.From == m.From:
		return Mismatch("rank", theirs.From, m.From)
	}
	return nil
}

// Mismatch is the error of a hello that differs in what from what is expected here. It wraps
// [transport.ErrMismatch].
func Mismatch(what string, theirs, here any) error {
	return fmt.Errorf("hello with %s %v, here %v: %w", what, theirs, here, transport.ErrMismatch)
}

// Seal puts the CRC-32C of a whole hello into its last four bytes.
func Seal(b []byte) {
	n := len(b) - 4
	binary.BigEndian.PutUint32(b[n:], crc32c.Update(0, b[:n]))
}

// CheckSeal reports a hello whose checksum is not that of [Seal], with [transport.ErrCorrupt].
func CheckSeal(b []byte) error {
	n := len(b) - 4
	if crc32c.Update(0, b[:n]) != binary.BigEndian.Uint32(b[n:]) {
		return fmt.Errorf("hello with a wrong checksum: %w", transport.ErrCorrupt)
	}
	return nil
}
