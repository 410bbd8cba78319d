package mpi

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// maxReason bounds the text of a notice.
const maxReason = 1 << 10

// reasons are the errors that a notice names by number, from 1, so that the error on every rank
// wraps them. New ones are added at the end only.
func reasons() []error {
	return []error{
		transport.ErrTimeout, transport.ErrPeerClosed, transport.ErrPeerDead, transport.ErrProtocol, transport.ErrTooLarge,
		transport.ErrTruncated, transport.ErrMismatch, transport.ErrCorrupt, context.Canceled, context.DeadlineExceeded,
	}
}

// fault is why a call failed: the culprit and the cause.
type fault struct {
	rank transport.Rank
	err  error
}

// as returns f as the error of the named operation.
func (f *fault) as(op string) *transport.Error {
	return &transport.Error{Rank: f.rank, Op: op, Err: f.err}
}

// notice returns f as an abort frame's header and payload.
func (f *fault) notice() (header, []byte) {
	text := []byte{0}
	for i, r := range reasons() {
		if errors.Is(f.err, r) {
			text[0] = byte(i + 1)
			break
		}
	}
	text = append(text, f.err.Error()...)
	text = text[:min(len(text), maxReason)]
	return header{kind: kindAbort, bytes: uint64(len(text)), id: uint64(int64(f.rank) + 1)}, text
}

// readNotice returns the fault that rank from of size ranks reports.
func readNotice(h header, text []byte, from transport.Rank, size int) (*fault, error) {
	if len(text) == 0 || len(text) > maxReason || h.id > uint64(size) {
		return nil, fmt.Errorf("abort notice of %d bytes blames rank %d of %d: %w", len(text), int64(h.id)-1, size, transport.ErrProtocol)
	}
	remote := &peerError{from: from, text: string(text[1:])}
	if list := reasons(); text[0] > 0 && int(text[0]) <= len(list) {
		remote.reason = list[text[0]-1]
	}
	return &fault{transport.Rank(h.id) - 1, remote}, nil
}

// peerError is the cause that another rank found.
type peerError struct {
	from   transport.Rank
	text   string
	reason error
}

func (e *peerError) Error() string { return fmt.Sprintf("rank %d says: %q", e.from, e.text) }
func (e *peerError) Unwrap() error { return e.reason }
