package lockstep

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

// maxName bounds the name of an operation in errors.
const maxName = 120

// maxReason bounds the reason of a peer's failure in errors.
const maxReason = 600

// fresh is the greatest age of a valid statement; a rank that waits repeats it every few seconds.
const fresh = 30 * time.Second

// String is the operation as errors state it.
func (o operation) String() string {
	return fmt.Sprintf("%s #%d", printable.Text(o.name, maxName), o.number)
}

// Statement implements transport.Program.
func (l *Log) Statement(to transport.Rank, waiting time.Duration) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) == 0 {
		return nil
	}
	s := statement{waiting: waiting}
	if waiting >= confirm {
		_, s.alone = l.alone()
	}
	for _, e := range l.open {
		s.ops = append(s.ops, e.op)
	}
	if h := l.heard[to]; h.alone && len(h.ops) == 1 && l.isBehind(h.ops[0]) {
		s.behind = h.ops[0].position()
	}
	return s.encode()
}

// Compare implements transport.Program.
func (l *Log) Compare(from transport.Rank, b []byte, waiting time.Duration) error {
	theirs, err := decode(b)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard[from] = heard{theirs, l.now()}
	for _, o := range theirs.ops {
		if mine, ok := l.differs(o); ok {
			return fmt.Errorf("%w: rank %d is in %v, rank %d has begun %v", transport.ErrOutOfStep, from, o, l.me, mine)
		}
	}
	if e := l.endedBefore(theirs.ops); e != nil {
		return fmt.Errorf("%w in %v: %s", transport.ErrPeerFailed, e.op, printable.Text(e.err.Error(), maxReason))
	}
	if mine, ok := l.deadlocked(theirs, waiting); ok {
		return fmt.Errorf("%w: rank %d waits for rank %d in %v, rank %d waits for rank %d in %v, and neither has begun the other's",
			transport.ErrOutOfStep, from, l.me, theirs.ops[0], l.me, from, mine)
	}
	return nil
}

// differs applies the rule within a stream: it returns the operation of this rank with o's number,
// if it is another one.
func (l *Log) differs(o operation) (operation, bool) {
	s := l.of(o)
	if s == nil {
		return l.differsFromPast(o)
	}
	if s.doubts(o.number) || o.doubtful {
		return operation{}, false
	}
	name, known := s.name(o.number)
	return operation{o.stream, o.pass, o.number, name, false}, known && name != o.name
}

// endedBefore returns the failure of this rank because of which one of ops, in which another rank
// is, cannot complete.
func (l *Log) endedBefore(ops []operation) *ended {
	for _, o := range ops {
		s := l.of(o)
		if s == nil && !l.wasEnded(o) { // a pass that this rank would have made
			s = l.streams[o.stream]
		}
		if s != nil && s.ended != nil && (s != l.of(o) || o.number >= s.ended.from) {
			return s.ended
		}
	}
	return nil
}

// isBehind reports whether this rank has certainly not begun an operation in which it takes part,
// nor may begin it in another goroutine, as one of a pass in flight.
func (l *Log) isBehind(o operation) bool {
	return l.takesPart(o.stream) && !l.hasBegun(o) && !l.inFlight(o)
}

// deadlocked applies the rule between streams: it returns the operation that this rank is in.
func (l *Log) deadlocked(theirs statement, waiting time.Duration) (operation, bool) {
	if min(waiting, theirs.waiting) < confirm || !theirs.alone || len(theirs.ops) != 1 || len(l.open) != 1 {
		return operation{}, false
	}
	their, mine := theirs.ops[0], l.open[0].op
	if !l.isBehind(their) || theirs.behind != mine.position() || their.doubtful {
		return operation{}, false
	}
	if s := l.of(their); s != nil && s.doubts(their.number) {
		return operation{}, false
	}
	return l.alone()
}

// Overdue implements transport.Program.
func (l *Log) Overdue(awaited transport.Rank) (culprit transport.Rank, doing string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	parts := []string{fmt.Sprintf("rank %d is in %s", l.me, list(l.opened()))}
	for _, r := range slices.Sorted(maps.Keys(l.heard)) {
		h := l.heard[r]
		parts = append(parts, fmt.Sprintf("rank %d said %v ago that it was in %s", r, now.Sub(h.at).Round(time.Second), list(h.ops)))
	}
	culprit = awaited
	h, known := l.heard[awaited]
	if known && now.Sub(h.at) < fresh && len(h.ops) > 0 {
		culprit = transport.None
	}
	if !known {
		parts = append(parts, fmt.Sprintf("rank %d has not said that it waits for anything", awaited))
	}
	return culprit, strings.Join(parts, "; ")
}

// opened lists the operations that are open.
func (l *Log) opened() (ops []operation) {
	for _, e := range l.open {
		ops = append(ops, e.op)
	}
	return ops
}

// list names operations.
func list(ops []operation) string {
	if len(ops) == 0 {
		return "no operation"
	}
	names := make([]string, len(ops))
	for i, o := range ops {
		names[i] = o.String()
	}
	return strings.Join(names, ", ")
}
