package faulty

import (
	"errors"
	"fmt"
	"time"
)

// ErrInjected is wrapped by every error that this package makes itself.
var ErrInjected = errors.New("injected fault")

// Kind is the kind of a fault.
type Kind uint8

// The kinds of faults. The functions of the same names describe them.
const (
	KindDelay Kind = iota + 1
	KindReorder
	KindDrop
	KindCorrupt
	KindStall
	KindFail
)

// String is the kind in lower case.
func (k Kind) String() string {
	names := [...]string{"none", "delay", "reorder", "drop", "corrupt", "stall", "fail"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Fault is a fault of an operation. The zero value is none.
type Fault struct {
	kind        Kind
	least, most time.Duration
	bytes       int
	until       <-chan struct{}
	err         error
}

// Delay delays a message by least to most, uniformly distributed by the seed. Its Send does not
// wait for that. Messages of other tags overtake it, later ones of its own tag stay behind it. A
// receive begins late.
func Delay(least, most time.Duration) Fault { return Fault{kind: KindDelay, least: least, most: most} }

// Reorder keeps a message back until a message of another tag from the same rank to the same peer
// has overtaken it, or hold has passed. It does not apply to receives.
func Reorder(hold time.Duration) Fault { return Fault{kind: KindReorder, most: hold} }

// Drop loses a message. Its Send succeeds; a receive discards its message and waits for the next
// one.
func Drop() Fault { return Fault{kind: KindDrop} }

// Corrupt changes n different bytes of a message, all of them if it is shorter: in the transport's
// copy or, for a receive, in the received message. An empty message is not changed.
func Corrupt(n int) Fault { return Fault{kind: KindCorrupt, bytes: n} }

// Stall delays the begin of an operation until until is closed. Before that it can be cancelled
// without effect.
func Stall(until <-chan struct{}) Fault { return Fault{kind: KindStall, until: until} }

// Fail crashes the rank in the operation: this and every other call of the rank, pending or later,
// returns an error that names the rank and wraps err and [ErrInjected]. err may be nil. If the
// transport below is a [transport.Aborter], the other ranks find that this one is dead; else it is
// closed.
func Fail(err error) Fault { return Fault{kind: KindFail, err: err} }

// Kind is the kind of f, or 0.
func (f Fault) Kind() Kind { return f.kind }

func (f Fault) validate() error {
	switch {
	case f.least < 0 || f.most < f.least:
		return fmt.Errorf("%v of %v to %v", f.kind, f.least, f.most)
	case f.kind == KindCorrupt && f.bytes < 1:
		return fmt.Errorf("corrupt of %d bytes, want at least 1", f.bytes)
	case f.kind == KindStall && f.until == nil:
		return errors.New("stall without a channel that ends it")
	}
	return nil
}

// suits reports whether the fault can apply to an operation.
func (f Fault) suits(o *Op) bool {
	switch f.kind {
	case 0:
		return false
	case KindReorder:
		return o.Dir == Send && o.Peer != o.Rank
	case KindCorrupt:
		return o.Size > 0
	}
	return true
}
