package striped

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/transport"
)

// A hello is the first message on every link, all numbers big-endian: magic and version, 4 bytes
// each; the terms, 8 bytes each; the CRC-32C of all before.
const (
	helloMagic = 0x53595368
	termCount  = 5
	helloBytes = 8 + 8*termCount + 4
)

// terms are what ranks must agree on, on each link.
type terms [termCount]uint64

var termNames = [termCount]string{"the link's number", "number of links", "Parity", "MinStripe", "StripeBytes"}

func (t *Transport) terms(link int) terms {
	c := &t.cfg
	return terms{uint64(link), uint64(len(t.links)), uint64(c.Parity), uint64(c.MinStripe), uint64(c.StripeBytes)}
}

func (h terms) encode() []byte {
	b := make([]byte, 0, helloBytes)
	b = binary.BigEndian.AppendUint32(b, helloMagic)
	b = binary.BigEndian.AppendUint32(b, version)
	for _, v := range h {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return binary.BigEndian.AppendUint32(b, crc32c.Update(0, b))
}

// decodeHello decodes what encode wrote.
func decodeHello(b []byte) (h terms, err error) {
	if len(b) != helloBytes || binary.BigEndian.Uint32(b) != helloMagic {
		return h, fmt.Errorf("hello of %d bytes, want %d and the magic %#08x: %w", len(b), helloBytes, uint32(helloMagic), transport.ErrProtocol)
	}
	if got := binary.BigEndian.Uint32(b[4:]); got != version {
		return h, fmt.Errorf("version %d here, %d there: %w", version, got, transport.ErrMismatch)
	}
	if sum, own := crc32c.Update(0, b[:helloBytes-4]), binary.BigEndian.Uint32(b[helloBytes-4:]); sum != own {
		return h, fmt.Errorf("hello sums to %#08x, states %#08x: %w", sum, own, transport.ErrCorrupt)
	}
	for i := range h {
		h[i] = binary.BigEndian.Uint64(b[8+8*i:])
	}
	return h, nil
}

// meet exchanges hellos with every peer on every link.
func (t *Transport) meet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.JoinTimeout)
	defer cancel()
	errs := make([]error, len(t.links))
	var wg sync.WaitGroup
	for link := range t.links {
		wg.Go(func() { errs[link] = t.meetOn(ctx, link) })
	}
	wg.Wait()
	for _, err := range errs { // a disagreement explains the errors of other links
		if errors.Is(err, transport.ErrMismatch) {
			return err
		}
	}
	return errors.Join(errs...)
}

func (t *Transport) meetOn(ctx context.Context, link int) error {
	mine := t.terms(link)
	hello := [][]byte{mine.encode()}
	var sends, recvs []transport.Message
	for _, o := range t.outward {
		sends = append(sends, transport.Message{Peer: o.peer, Tag: helloTag, Bufs: hello})
		recvs = append(recvs, transport.Message{Peer: o.peer, Tag: helloTag, Bufs: [][]byte{make([]byte, helloBytes)}})
	}
	if err := transport.Exchange(ctx, t.links[link], sends, recvs); err != nil {
		return &transport.Error{Rank: transport.CulpritOf(err), Op: "join", Err: fmt.Errorf("link %d: %w", link, err)}
	}
	for _, r := range recvs {
		theirs, err := decodeHello(r.Bufs[0][:r.N])
		for i := range theirs {
			if err == nil && mine[i] != theirs[i] {
				err = fmt.Errorf("%s is %d here and %d at rank %d: %w", termNames[i], mine[i], theirs[i], r.Peer, transport.ErrMismatch)
			}
		}
		if err != nil {
			return &transport.Error{Rank: r.Peer, Op: "join", Err: fmt.Errorf("link %d: %w", link, err)}
		}
	}
	return nil
}
