package transport

import (
	"errors"
	"fmt"
	"time"
)

// ErrOutOfStep says that ranks are in different operations of the program above the transport,
// which wait for each other forever: one evaluates, saves or makes a layer, say, while the others
// train. The error states the operations of both sides.
var ErrOutOfStep = errors.New("ranks are out of step")

// Program is the program that uses a transport, as a [Watcher] sees it. Its methods may be called
// from any goroutine, also while the program is in a call of the transport, and must not call the
// transport.
type Program interface {
	// Statement describes for rank to what this rank is doing, in at most MaxStatement bytes.
	// waiting is how long an operation of this rank has been waiting for a message from there; 0 if
	// none has.
	Statement(to Rank, waiting time.Duration) []byte
	// Compare reads a statement of rank from, which may be any bytes. waiting is how long this
	// rank has been waiting for a message from there. An error, which wraps [ErrOutOfStep],
	// [ErrPeerFailed] or [ErrProtocol], breaks the transport. With ErrPeerFailed it is this rank
	// that has failed.
	Compare(from Rank, statement []byte, waiting time.Duration) error
	// Overdue is called when an operation that waits for rank awaited takes too long. It returns
	// the rank to blame, which is [None] if awaited is known to be waiting itself, and a text that
	// says what every rank was last known to be doing.
	Overdue(awaited Rank) (culprit Rank, doing string)
}

// MaxStatement bounds a statement of a [Program].
const MaxStatement = 768

// Watcher is implemented by transports that find ranks that are out of step. Once an operation has
// waited for half a second, and again in growing intervals of at most five seconds, the transport
// sends the statement of its program to the peers, and calls Compare with theirs. It also asks the
// sender of a message that is too long for its receiver, before it breaks for that reason.
type Watcher interface {
	// Watch sets the program. It is called once, before the first operation.
	Watch(p Program)
	// Settle is for a program whose operation has failed, perhaps because ranks are out of step. It
	// asks all peers for their statements, and returns when they have answered, or after a few
	// seconds. If ranks are out of step, the error says so.
	Settle() error
}

// Watch makes t watch p, and reports whether it can.
func Watch(t Transport, p Program) bool {
	w, ok := t.(Watcher)
	if ok {
		w.Watch(p)
	}
	return ok
}

// Settle makes t ask all peers for their statements, if it can. See [Watcher].
func Settle(t Transport) error {
	if w, ok := t.(Watcher); ok {
		return w.Settle()
	}
	return nil
}

// Times between statements: the first after an operation has waited for firstStatement, each next
// one after half of the time waited so far, within these bounds.
const firstStatement, lastStatement = 500 * time.Millisecond, 5 * time.Second

// NextStatement returns the time until the next statement of an operation that has waited for
// waited. It is for implementations of [Watcher].
func NextStatement(waited time.Duration) time.Duration {
	return min(max(waited/2, firstStatement), lastStatement)
}

// Overdue returns the rank to blame for an operation that has waited for rank awaited until limit,
// and an error that wraps [ErrTimeout] and states what p, which may be nil, knows of all ranks. It
// is for implementations of [Transport].
func Overdue(p Program, awaited Rank, limit time.Duration) (culprit Rank, err error) {
	err = fmt.Errorf("after %v: %w", limit, ErrTimeout)
	if p == nil {
		return awaited, err
	}
	culprit, doing := p.Overdue(awaited)
	return culprit, fmt.Errorf("waited for rank %d: %w; %s", awaited, err, doing)
}
