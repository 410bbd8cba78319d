package faulty

import (
	"errors"
	"fmt"
	"time"
)

// ErrInjected is found by errors.Is beneath every error that this package makes by itself.
var ErrInjected = errors.New("injected fault")

// Kind tells faults apart.
type Kind uint8

// The kinds of faults. Their functions say what they do.
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

// Fault is what goes wrong with an operation. The zero value is none.
type Fault struct {
	kind        Kind
	least, most time.Duration
	bytes       int
	until       <-chan struct{}
	err         error
}

// Delay has a message arrive late, by least to most, evenly distributed by the seed. Its Send does
// not wait for that. Messages under other tags overtake it, later ones under its own stay behind
// it. A receive is called late.
func Delay(least, most time.Duration) Fault { return Fault{kind: KindDelay, least: least, most: most} }

// Reorder keeps a message back until the same rank sends the same peer a message under another tag,
// which so overtakes it, or until hold has passed. It does nothing to receives.
func Reorder(hold time.Duration) Fault { return Fault{kind: KindReorder, most: hold} }

// Drop has a message vanish. Its Send succeeds; what a receive gets is thrown away, and it waits
// for the next one.
func Drop() Fault { return Fault{kind: KindDrop} }

// Corrupt changes n different bytes of a message, all of them if it is shorter, in the transport's
// copy or, for a receive, in what came. An empty message is left alone.
func Corrupt(n int) Fault { return Fault{kind: KindCorrupt, bytes: n} }

// Stall lets an operation begin only when until is closed. Until then it can be cancelled as if it
// had not begun.
func Stall(until <-chan struct{}) Fault { return Fault{kind: KindStall, until: until} }

// Fail has the rank crash with the operation: this and every other call of it, pending or later,
// returns an error that names the rank and finds err and [ErrInjected]. err may be nil. Where the
// transport below can be aborted, as inproc can, the other ranks hear of a death; others are
// closed.
func Fail(err error) Fault { return Fault{kind: KindFail, err: err} }

// Kind is what kind of fault f is, or 0.
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

// suits reports whether the fault can befall an operation.
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
