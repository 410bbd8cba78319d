package alltoall

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// The tags of an exchange are the numbers of its rounds. Those of a pass ([Exchange.Pass]) have one
// more bit, and the number of the pass before that of the round, which has 16 bits and begins again
// then. The highest of the caller's bits is 0: the tags of a collective.Comm have it.
const (
	passBit   = transport.Tag(1) << (transport.TagBits - 2)
	roundBits = 16
)

// Pass returns an exchange for the rounds of one pass of the layer: an exchange there and back, one
// for its gradients, and again if the pass is repeated. It may run at the same time as x and other
// passes, on another goroutine and in another order than on other ranks: they meet by the number of
// the pass. All ranks begin the same passes, and make the same calls in each, any number of them.
// Two passes whose numbers are 2³⁰ apart must not run at the same time. Any goroutine may call Pass
// at any time.
//
// What it returns has the memory of a pass that has ended, if there is any. It must not be used
// after End, nor its handles.
func (x *Exchange) Pass(number uint64) *Exchange {
	if x.whole != nil {
		x = x.whole
	}
	p := x.ended.Take()
	if p == nil {
		p = &Exchange{chooser: x.chooser.another(), whole: x}
	}
	p.settings, p.chooser.rowBytes = x.settings, x.chooser.rowBytes
	p.pass, p.seq = number, 0
	return p
}

// End ends a pass, whose handles have been released: its memory is for others. It does nothing if x
// is no pass.
func (x *Exchange) End() {
	if x.whole != nil {
		x.whole.ended.Give(x)
	}
}

// tag is that of the current round.
func (x *Exchange) tag() transport.Tag {
	if x.whole == nil {
		return transport.Tag(x.seq) & (passBit - 1)
	}
	return passBit | transport.Tag(x.pass)<<roundBits&(passBit-1) | transport.Tag(x.seq)&(1<<roundBits-1)
}

// named is op in errors.
func (x *Exchange) named(op string) string {
	if x.whole == nil {
		return op
	}
	return fmt.Sprintf("%s of pass %d", op, x.pass)
}
