package transport

import (
	"errors"
	"fmt"
	"time"
)

// ErrOutOfStep says that ranks are in different operations of the program above the transport,
// which wait for each other for good: one evaluates, saves or makes a layer, say, while the others
// train. The error states the operations of both sides.
var ErrOutOfStep = errors.New("ranks are out of step")

// Program is what a [Watcher] asks of the program that uses it. Its methods may be called from any
// goroutine, also while the program is in a call of the transport, and call nothing of the
// transport themselves.
type Program interface {
	// Statement says in at most MaxStatement bytes what this rank is doing, for rank to. waiting is
	// for how long an operation of this rank has been waiting for a message from there; 0 if none
	// has.
	Statement(to Rank, waiting time.Duration) []byte
	// Compare reads a statement of rank from, which may be any bytes. waiting is for how long this
	// rank has been waiting for a message from there. An error, which wraps [ErrOutOfStep],
	// [ErrPeerFailed] or [ErrProtocol], breaks the transport. With ErrPeerFailed it is this rank
	// that has failed.
	Compare(from Rank, statement []byte, waiting time.Duration) error
	// Overdue is asked when an operation that waits for rank awaited takes too long. It returns
	// whom to blame, which is [None] if that rank is known to be waiting itself, and what every
	// rank was last known to be doing, in words.
	Overdue(awaited Rank) (culprit Rank, doing string)
}

// MaxStatement bounds a statement of a [Program].
const MaxStatement = 768

// Watcher is the power of a transport to find ranks that are out of step. Once an operation has
// waited for half a second, and again in growing intervals of at most five seconds, the transport
// brings the statement of its program to the peers, and has theirs compared with what they do. It
// also asks the sender of a message that is too long for its receiver, before it breaks for that
// reason.
type Watcher interface {
	// Watch names the program. It is called once, before the first operation.
	Watch(p Program)
	// Settle is for a program whose operation has failed in a way that ranks out of step would
	// explain. It asks all peers what they are in, and returns when they have answered, or after a
	// few seconds. If ranks are out of step, the error says so.
	Settle() error
}

// Watch has t watch p, and reports whether it can.
func Watch(t Transport, p Program) bool {
	w, ok := t.(Watcher)
	if ok {
		w.Watch(p)
	}
	return ok
}

// Settle has t ask all peers what they are in, if it can. See [Watcher].
func Settle(t Transport) error {
	if w, ok := t.(Watcher); ok {
		return w.Settle()
	}
	return nil
}

// Times between statements: the first when an operation has waited so long, and then after another
// half of what it has waited, within bounds.
const firstStatement, lastStatement = 500 * time.Millisecond, 5 * time.Second

// NextStatement says after which further time an operation that has waited so long is due for a
// statement again. It is for implementations of [Watcher].
func NextStatement(waited time.Duration) time.Duration {
	return min(max(waited/2, firstStatement), lastStatement)
}

// Overdue is the fault of an operation that has waited for rank awaited for as long as limit
// allows: whom to blame, and an error that wraps [ErrTimeout] and states what p, which may be nil,
// knows of all ranks. It is for implementations of [Transport].
func Overdue(p Program, awaited Rank, limit time.Duration) (culprit Rank, err error) {
	err = fmt.Errorf("after %v: %w", limit, ErrTimeout)
	if p == nil {
		return awaited, err
	}
	culprit, doing := p.Overdue(awaited)
	return culprit, fmt.Errorf("waited for rank %d: %w; %s", awaited, err, doing)
}
