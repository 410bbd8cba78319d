package meshjoin

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/identity"
)

// A stream opens with this hello from the rank that dials, answered by one from the rank that
// accepts. It has a fixed size. Big-endian:
//
//	 0  uint32   magic "SWYH"
//	 4  uint16   version
//	 6  uint16   kind of stream: 1 data, 2 control
//	 8  64 bytes identity of the sender, see package identity
//	72  uint32   CRC-32C of the 72 bytes before
const (
	helloMagic   = 0x53575948
	helloVersion = 1
	helloBlockAt = 8
	helloBytes   = helloBlockAt + identity.Bytes + 4
)

type streamKind uint16

const (
	dataStream    streamKind = 1
	controlStream streamKind = 2
)

// hello is what a rank says of itself and of the stream.
type hello struct {
	identity.Block
	kind streamKind
}

func (h *hello) put(b []byte) {
	binary.BigEndian.PutUint32(b, helloMagic)
	binary.BigEndian.PutUint16(b[4:], helloVersion)
	binary.BigEndian.PutUint16(b[6:], uint16(h.kind))
	h.Put(b[helloBlockAt:])
	identity.Seal(b)
}

// decodeHello decodes b, which has helloBytes bytes.
func decodeHello(b []byte) (hello, error) {
	if m := binary.BigEndian.Uint32(b); m != helloMagic {
		return hello{}, fmt.Errorf("hello magic %#08x, want %#08x: %w", m, uint32(helloMagic), transport.ErrProtocol)
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != helloVersion {
		return hello{}, fmt.Errorf("hello version %d, want %d: %w", v, helloVersion, transport.ErrMismatch)
	}
	if err := identity.CheckSeal(b); err != nil {
		return hello{}, err
	}
	return hello{identity.Decode(b[helloBlockAt:]), streamKind(binary.BigEndian.Uint16(b[6:]))}, nil
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

// check reports why theirs cannot open a stream with the rank that would say h, or nil.
func (h *hello) check(theirs *hello) error {
	if err := h.Check(&theirs.Block); err != nil {
		return err
	}
	if theirs.kind != dataStream && theirs.kind != controlStream {
		return identity.Mismatch("stream kind", theirs.kind, "1 or 2")
	}
	return nil
}
