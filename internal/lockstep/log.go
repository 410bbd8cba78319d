// Package lockstep finds ranks whose programs are in different operations.
//
// A program calls its collective operations in the same order on every rank, and so can number
// them: all operations of one layer, or of one communicator, are a stream with a number that all
// ranks know, and the n-th operation of a stream has the same name on every rank. A [Log] keeps the
// names of the last operations begun. Ranks that wait send each other their open operations;
// transports carry these statements (transport.Watcher). Two rules detect an error.
//
// Within a stream: a rank that is in number n of a stream, and another that has begun number n
// under another name, are certainly out of step, however long they have waited.
//
// Between streams: rank a waits for rank b in an operation that b has not begun, and b for a in one
// that a has not begun. If nothing else runs on either, neither can go on. That is an error once
// both have waited for [confirm] and each has the other's statement. It is not an error if a rank
// has had two operations open at once, nor while a second goroutine lives that has ever begun one,
// since that may be about to begin the operation that the other rank waits for.
//
// A stream may have passes, each with operations and numbers of its own: see [Log.MakePass].
//
// Ranks may be in several groups. An operation of a group says nothing of ranks that are not in it:
// it will never begin there.
//
// A third rule is about failure: if an operation has failed on one rank alone, its stream has ended
// there ([Log.Fail]). Ranks that wait in that operation or a later one of the stream, which cannot
// complete, get that error.
//
// Waiting for a rank that is in no operation, but computes or writes a file, is no error.
package lockstep

import (
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// confirm is how long both ranks must have waited before the rule between streams applies.
const confirm = 3 * time.Second

// remembered is how many operations of a stream are remembered by name. Ranks of one stream are
// seldom more than one apart.
const remembered = 64

// StreamID identifies a stream of operations. It is the same on all ranks of the stream, and no two
// streams of a job have the same: above its low 16 bits it has the number of the [GroupID] of
// ranks.
type StreamID uint64

// GroupID identifies a group of ranks whose operations are streams; 0 is the whole job. It is the
// same on the ranks of the group, and no two groups of a job have the same. It has 48 bits.
type GroupID uint64

// Stream is a stream of the group.
func (g GroupID) Stream(n uint16) StreamID { return StreamID(g)<<16 | StreamID(n) }

func (id StreamID) group() GroupID { return GroupID(id >> 16) }

// Log records the operations of one rank, and the statements of the others. Its methods may be
// called by any number of goroutines. It is a [transport.Program].
type Log struct {
	me  transport.Rank
	now func() time.Time

	mu         sync.Mutex
	streams    map[StreamID]*stream
	passes     map[passID]*stream // in flight
	groups     map[GroupID]bool   // that this rank is in, but for the whole job
	open       []entry            // begun and not ended, in the order of beginning
	last       uint64             // serial number of the last entry
	concurrent bool               // two operations have been open at once, or may be
	callers    callers
	heard      map[transport.Rank]heard
}

var _ transport.Program = (*Log)(nil)

// stream is the record of one stream.
type stream struct {
	label string
	begun uint64             // operations
	names [remembered]string // of the last ones, by number
	// failed is the first operation that may have failed here alone, or 0: since then ranks may
	// have counted differently.
	failed uint64
	ended  *ended // why this rank does not go on with it

	made uint64 // number of the last pass that the program held
	past []past // passes that have ended, by number
}

// ended is the operation with which a stream has ended on this rank, and why.
type ended struct {
	op   operation // maybe of a pass, or of the stream, of which this is a pass
	from uint64    // number of the first operation in which this rank takes no part, or not to its end
	err  error
}

// entry is an operation that is open.
type entry struct {
	serial uint64
	caller uint64 // goroutine
	op     operation
}

// operation is one operation of a stream: its number and its whole name.
type operation struct {
	stream   StreamID
	pass     uint64 // of the stream, 0 if it is of none
	number   uint64 // in the stream or the pass
	name     string
	doubtful bool
}

// heard is the last statement of a rank.
type heard struct {
	statement
	at time.Time
}

// New returns the log of a rank.
func New(me transport.Rank) *Log {
	return &Log{
		me: me, now: time.Now, streams: map[StreamID]*stream{}, passes: map[passID]*stream{}, groups: map[GroupID]bool{},
		callers: callers{}, heard: map[transport.Rank]heard{},
	}
}

// Join notes that this rank is in a group.
func (l *Log) Join(g GroupID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.groups[g] = true
}

// takesPart reports whether this rank is in the group of a stream.
func (l *Log) takesPart(id StreamID) bool { return id.group() == 0 || l.groups[id.group()] }

// Begun is an operation that has begun and must be ended.
type Begun struct {
	log    *Log
	serial uint64
}

// Begin notes that the next operation of a stream begins, under a name that is the same on all
// ranks. The label describes the stream, and is the same in all calls for it: "layer 2".
func (l *Log) Begin(id StreamID, label, name string) Begun {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begin(l.streamOf(id, label), operation{stream: id}, name)
}

// streamOf returns a stream, a new one if there is none.
func (l *Log) streamOf(id StreamID, label string) *stream {
	s := l.streams[id]
	if s == nil {
		s = &stream{label: label}
		l.streams[id] = s
	}
	return s
}

// begin notes that the next operation of s begins; o says which stream or pass that is.
func (l *Log) begin(s *stream, o operation, name string) Begun {
	s.begun++
	s.names[s.begun%remembered] = name
	caller := l.called()
	l.last++
	o.number, o.name, o.doubtful = s.begun, s.full(name), s.doubts(s.begun)
	l.open = append(l.open, entry{l.last, caller, o})
	return Begun{l, l.last}
}

// called records the goroutine that begins an operation, unless the rank is concurrent.
func (l *Log) called() (caller uint64) {
	if l.concurrent = l.concurrent || len(l.open) > 0; l.concurrent {
		return 0
	}
	caller, known := goroutine()
	l.concurrent = !known || !l.callers.add(caller)
	return caller
}

// End notes that the operation has ended. certain says that it has ended in the same way on all
// ranks: without an error, or with the same one. Otherwise later numbers of its stream never cause
// an error.
func (b Begun) End(certain bool) {
	l := b.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range l.open {
		if e.serial == b.serial {
			l.open = append(l.open[:i], l.open[i+1:]...)
			if s := l.of(e.op); s != nil && !certain && s.failed == 0 {
				s.failed = e.op.number
			}
			return
		}
	}
}

// Fail notes that this rank does not go on with a stream and its passes, from the operations that
// have failed, are open or would be next. Ranks that wait in one of these get err.
func (l *Log) Fail(id StreamID, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[uint64]*stream{}
	if s := l.streams[id]; s != nil {
		all[0] = s
	}
	for p, s := range l.passes {
		if p.stream == id {
			all[p.number] = s
		}
	}
	failed := l.failing(id, all)
	for pass, s := range all {
		if s.ended == nil {
			s.ended = &ended{failed, l.firstMissing(s, passID{id, pass}), err}
		}
	}
}

// failing is the operation that has failed of a stream and its passes, as far as is known.
func (l *Log) failing(id StreamID, all map[uint64]*stream) operation {
	for pass, s := range all {
		if name, known := s.name(s.failed); known {
			return operation{stream: id, pass: pass, number: s.failed, name: name}
		}
	}
	for _, e := range l.open {
		if e.op.stream == id {
			return e.op
		}
	}
	return operation{stream: id, name: "an operation"}
}

// firstMissing is the number of the first operation of a stream or pass that has not ended well
// here.
func (l *Log) firstMissing(s *stream, of passID) uint64 {
	if s.failed > 0 {
		return s.failed
	}
	for _, e := range l.open {
		if (passID{e.op.stream, e.op.pass}) == of {
			return e.op.number
		}
	}
	return s.begun + 1
}

// Concurrent notes that operations of this rank may be called by several goroutines.
func (l *Log) Concurrent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.concurrent = true
}

func (s *stream) full(name string) string {
	if s.label != "" {
		name = s.label + ": " + name
	}
	return name[:min(len(name), maxNameBytes)]
}

// name returns the whole name of operation number n, if it has begun and is remembered.
func (s *stream) name(n uint64) (string, bool) {
	if n < 1 || n > s.begun || s.begun-n >= remembered {
		return "", false
	}
	return s.full(s.names[n%remembered]), true
}

// doubts reports whether number n may be another operation on other ranks of a correct program.
func (s *stream) doubts(n uint64) bool { return s.failed > 0 && n > s.failed }

// hasBegun reports whether this rank has begun an operation.
func (l *Log) hasBegun(o operation) bool {
	s := l.of(o)
	return s != nil && s.begun >= o.number || l.wasEnded(o)
}

// alone returns the operation that this rank is in, if it is certainly in one and no other
// goroutine can begin another.
func (l *Log) alone() (operation, bool) {
	if len(l.open) != 1 || l.concurrent {
		return operation{}, false
	}
	e := l.open[0]
	if e.op.doubtful {
		return operation{}, false
	}
	return e.op, l.callers.only(e.caller)
}
