package mesh

import (
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// Statements of the program above go over the control streams, in frames whose tag says what is
// expected of the receiver.
const (
	statementOnly     transport.Tag = iota // nothing
	statementQuestion                      // an answer
	statementAnswer                        // nothing: it is one
)

// answerTimeout bounds how long a failure waits for a peer's answer.
const answerTimeout = 5 * time.Second

// watch is what a mesh knows of its program.
type watch struct {
	program transport.Program
	last    time.Time // of the last statement; the monitor's
}

// Watch implements transport.Watcher.
func (t *Mesh) Watch(p transport.Program) { t.watched.Store(&watch{program: p}) }

// speak states to all peers what this rank is in, if an operation has waited for so long that it is
// time.
func (t *Mesh) sendStatements(now time.Time) {
	w := t.watched.Load()
	if w == nil {
		return
	}
	longest := t.sleepers.longest(now)
	if now.Sub(w.last) < transport.NextStatement(longest) || longest < transport.NextStatement(0) {
		return
	}
	w.last = now
	for _, p := range t.peers {
		if p != t.self && !p.isGone() {
			if b := w.program.Statement(p.rank, t.sleepers.waitingFor(p, now)); len(b) > 0 {
				p.sendStatement(statementOnly, b)
			}
		}
	}
}

func (p *peer) sendStatement(tag transport.Tag, statement []byte) {
	p.sendTagged(kindStatement, tag, statement)
}

// receiveStatement compares what p states, and answers if that is expected.
func (p *peer) receiveStatement(h header, statement []byte) {
	w := p.t.watched.Load()
	var err error
	switch {
	case h.tag > statementAnswer:
		err = fmt.Errorf("statement of kind %d: %w", h.tag, transport.ErrProtocol)
	case w != nil:
		err = w.program.Compare(p.rank, statement, p.t.sleepers.waitingFor(p, time.Now()))
	}
	switch {
	case err != nil && !p.t.closed.Load():
		culprit := transport.None
		switch {
		case errors.Is(err, transport.ErrProtocol):
			culprit = p.rank
		case errors.Is(err, transport.ErrPeerFailed):
			culprit = p.t.cfg.Rank
		}
		p.t.fail(culprit, err)
	case h.tag == statementQuestion:
		p.sendStatement(statementAnswer, p.t.statement(p))
	case h.tag == statementAnswer:
		select {
		case p.answers <- struct{}{}:
		default:
		}
	}
}

// program is what is watched, or nil.
func (t *Mesh) program() transport.Program {
	if w := t.watched.Load(); w != nil {
		return w.program
	}
	return nil
}

// statement is what the program says for p, in reply or before a failure.
func (t *Mesh) statement(p *peer) []byte {
	if program := t.program(); program != nil {
		return program.Statement(p.rank, 0)
	}
	return nil
}

// failMismatch breaks the mesh because a message of p does not fit what this rank does. The two
// programs may be out of step, so p gets this rank's statement and is asked for its own, before
// that is all that is known.
func (t *Mesh) failMismatch(p *peer, err error) *fault {
	if t.watched.Load() == nil || p == t.self || t.fault.Load() != nil {
		return t.fail(p.rank, err)
	}
	t.ask(p)
	if f := t.unusable(); f != nil {
		return f
	}
	return t.fail(p.rank, err)
}

// Settle implements transport.Watcher.
func (t *Mesh) Settle() error {
	t.life.RLock()
	defer t.life.RUnlock()
	if t.watched.Load() != nil && t.unusable() == nil {
		var others []*peer
		for _, p := range t.peers {
			if p != t.self {
				others = append(others, p)
			}
		}
		t.ask(others...)
	}
	if f := t.brokenBy(); f != nil && errors.Is(f.err, transport.ErrOutOfStep) {
		return f.as("settle")
	}
	return nil
}

// ask tells peers what this rank is in, and waits until they have said what they are in, or for
// answerTimeout.
func (t *Mesh) ask(peers ...*peer) {
	for _, p := range peers {
		select {
		case <-p.answers: // to an earlier question
		default:
		}
		p.sendStatement(statementQuestion, t.statement(p))
	}
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	for _, p := range peers {
		select {
		case <-p.answers:
		case <-p.gone:
		case <-t.broken:
			return
		case <-t.closing:
			return
		case <-timer.C:
			return
		}
	}
}

// longest is for how long any operation has waited.
func (s *sleepers) longest(now time.Time) (d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for op := range s.ops {
		d = max(d, now.Sub(op.since))
	}
	return d
}

// waitingFor is for how long any operation has waited for a message of p.
func (s *sleepers) waitingFor(p *peer, now time.Time) (d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for op := range s.ops {
		for i := range op.sources {
			if src := &op.sources[i]; src.p == p && src.pending.Load() > 0 {
				d = max(d, now.Sub(op.since))
			}
		}
	}
	return d
}
