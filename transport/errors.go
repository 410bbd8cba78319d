package transport

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Sentinels for errors.Is. The [*Error] of an operation wraps them.
var (
	// ErrClosed: this rank's own transport has been closed. It wraps net.ErrClosed.
	ErrClosed = fmt.Errorf("transport closed: %w", net.ErrClosed)
	// ErrPeerClosed: the peer closed its transport while this rank still waited for it.
	ErrPeerClosed = errors.New("peer has closed its transport")
	// ErrPeerDead: the peer ended without closing its transport, or has been silent for too long.
	ErrPeerDead = errors.New("peer is dead")
	// ErrPeerFailed: the peer has failed in the operation of the program in which this rank waits.
	ErrPeerFailed = errors.New("peer has failed")
	// ErrTimeout: the transport's own deadline for one operation passed. It wraps
	// os.ErrDeadlineExceeded.
	ErrTimeout = fmt.Errorf("operation timed out: %w", os.ErrDeadlineExceeded)
	// ErrCorrupt: a frame's checksum or sequence number is wrong.
	ErrCorrupt = errors.New("corrupt frame")
	// ErrProtocol: a peer sent what this protocol does not allow.
	ErrProtocol = errors.New("protocol violation")
	// ErrTooLarge: a message is longer than a limit, which the error states.
	ErrTooLarge = errors.New("message exceeds limit")
	// ErrTruncated: a message is longer than the buffers given to receive it.
	ErrTruncated = errors.New("message longer than its buffers")
	// ErrMismatch: ranks disagree about the job: its size, name, version or configuration.
	ErrMismatch = errors.New("ranks disagree about the job")
	// ErrDuplicateRank: two processes claim one rank.
	ErrDuplicateRank = errors.New("rank claimed twice")
)

// Error is the error of every failed operation of a transport and of the packages above it.
type Error struct {
	// Rank is the rank at fault, for instance a dead one; [None] if it is not known.
	Rank Rank
	// Op is the operation that failed: "send", "recv", "rendezvous", "dispatch".
	Op string
	// Seq is the number of the message or operation, from 1, or 0 if it is not known.
	Seq uint64
	// Err is the cause.
	Err error
}

// Error names the rank, the operation and the cause. "switchyard" is in it once, though the cause
// may be an Error too.
func (e *Error) Error() string { return errtext.Once(e.text()) }

func (e *Error) text() string {
	who := "unknown rank"
	if e.Rank != None {
		who = fmt.Sprintf("rank %d", e.Rank)
	}
	if e.Seq != 0 {
		return fmt.Sprintf("switchyard: %s: %s #%d: %v", who, e.Op, e.Seq, e.Err)
	}
	return fmt.Sprintf("switchyard: %s: %s: %v", who, e.Op, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CulpritOf returns the rank that err blames, or [None].
func CulpritOf(err error) Rank {
	var e *Error
	if errors.As(err, &e) {
		return e.Rank
	}
	return None
}
