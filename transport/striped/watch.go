package striped

import (
	"errors"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// Watch lets link 0 carry statements of p to the peers, if it can. Receives of a link always wait,
// so it is not known which rank waits for which: only ranks that are in different operations of one
// stream are found. See [transport.Watcher].
func (t *Transport) Watch(p transport.Program) {
	t.program.Store(&p)
	transport.Watch(t.links[0], linkProgram{t, p})
}

// linkProgram is the program for a link. An error that it finds breaks this transport, not only the
// link.
type linkProgram struct {
	t *Transport
	p transport.Program
}

func (l linkProgram) Statement(to transport.Rank, _ time.Duration) []byte {
	return l.p.Statement(to, 0)
}

func (l linkProgram) Compare(from transport.Rank, statement []byte, _ time.Duration) error {
	err := l.p.Compare(from, statement, 0)
	switch {
	case errors.Is(err, transport.ErrOutOfStep):
		l.t.breakDown(transport.None, err)
	case errors.Is(err, transport.ErrPeerFailed):
		l.t.breakDown(l.t.Rank(), err)
	default:
		return err
	}
	return nil
}

func (l linkProgram) Overdue(awaited transport.Rank) (transport.Rank, string) {
	return l.p.Overdue(awaited)
}

// watched is the program, or nil.
func (t *Transport) watched() transport.Program {
	if p := t.program.Load(); p != nil {
		return *p
	}
	return nil
}

// Settle lets link 0 ask the peers. See [transport.Watcher].
func (t *Transport) Settle() error {
	err := transport.Settle(t.links[0])
	if f := t.fault.Load(); f != nil && errors.Is(f.err, transport.ErrOutOfStep) {
		return f.as("settle")
	}
	return err
}
