package lockstep

// A stream may have passes, which are numbered over all ranks, as the passes of a layer are. The
// operations of a pass are numbered by themselves, so that ranks may run several passes in
// different order, on several goroutines. A pass that is in flight here may be about to go on in
// any goroutine, and so is never a reason for the rule between streams. One that has ended is
// forgotten, but for how many operations it had.

// passID identifies a pass.
type passID struct {
	stream StreamID
	number uint64
}

// past is a pass that has ended.
type past struct {
	number, begun uint64
	certain       bool // it has ended in the same way on all ranks
}

// MakePass notes that the program holds a pass of a stream, with a greater number than those
// before. The label describes the pass.
func (l *Log) MakePass(id StreamID, number uint64, label string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.streamOf(id, "")
	of.made = number
	l.passes[passID{id, number}] = &stream{label: label}
}

// EndPass notes that a pass has ended here, and forgets it.
func (l *Log) EndPass(id StreamID, number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, of := l.passes[passID{id, number}], l.streams[id]
	if p == nil {
		return
	}
	delete(l.passes, passID{id, number})
	if of.past == nil {
		of.past = make([]past, remembered)
	}
	of.past[number%remembered] = past{number, p.begun, p.failed == 0 && of.failed == 0}
}

// BeginInPass is Begin of an operation of a pass that has been made and has not ended.
func (l *Log) BeginInPass(id StreamID, number uint64, name string) Begun {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.passes[passID{id, number}]
	if p == nil { // it has ended meanwhile, by a failure
		p = &stream{}
	}
	return l.begin(p, operation{stream: id, pass: number}, name)
}

// of is the record of the stream or the pass of an operation, nil if there is none.
func (l *Log) of(o operation) *stream {
	if o.pass != 0 {
		return l.passes[passID{o.stream, o.pass}]
	}
	return l.streams[o.stream]
}

// inFlight reports whether this rank holds the pass of an operation.
func (l *Log) inFlight(o operation) bool { return o.pass != 0 && l.of(o) != nil }

// wasEnded reports whether the pass of an operation has ended here, or was never held.
func (l *Log) wasEnded(o operation) bool {
	s := l.streams[o.stream]
	return o.pass != 0 && s != nil && o.pass <= s.made && l.of(o) == nil
}

// differsFromPast is differs for a pass that has ended here: with how many operations is known for
// a while.
func (l *Log) differsFromPast(o operation) (operation, bool) {
	s := l.streams[o.stream]
	if o.pass == 0 || s == nil || s.past == nil {
		return operation{}, false
	}
	p := s.past[o.pass%remembered]
	if p.number != o.pass || !p.certain || o.doubtful || o.number <= p.begun {
		return operation{}, false
	}
	return operation{o.stream, o.pass, p.begun + 1, s.full("the end of a pass"), false}, true
}
