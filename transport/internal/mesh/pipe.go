package mesh

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/switchyard-moe/switchyard/transport"
)

// pipeBytes is what one direction of a pipe holds.
const pipeBytes = 64 << 10

// NewPipe returns the two ends of a data stream between ranks of one process. All of each other's
// memory can be read in place, so a long message is copied once.
func NewPipe() (a, b Stream) {
	x, y := newTube(), newTube()
	return &pipe{in: x, out: y}, &pipe{in: y, out: x}
}

// pipe is one end.
type pipe struct{ in, out *tube }

var _ Sharer = (*pipe)(nil)

// tube is one direction.
type tube struct {
	mu       sync.Mutex
	bytes    []byte // a ring
	head     int    // bytes written
	tail     int    // bytes read
	finished bool

	offered [][]byte // what has an offset and has not been viewed
	first   uint64   // the offset of offered[0]
	taken   uint64
	revoked bool

	readers, writers sleeping // until there are bytes; until there is room or something is taken
}

func newTube() *tube { return &tube{bytes: make([]byte, pipeBytes)} }

// sleeping are the operations that one direction of a pipe has to wake.
type sleeping []*Sleeper

func (l *sleeping) add(s *Sleeper) {
	if !slices.Contains(*l, s) {
		*l = append(*l, s)
	}
}

// wake wakes all of them, who look again and come back if they have to.
func (l *sleeping) wake() {
	for i, s := range *l {
		s.Wake()
		(*l)[i] = nil
	}
	*l = (*l)[:0]
}

func (p *pipe) Read(bufs [][]byte) (int, error) {
	t := p.in
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head == t.tail {
		if t.finished {
			return 0, io.EOF
		}
		return 0, ErrAgain
	}
	n := 0
	for _, b := range bufs {
		b = b[:min(len(b), t.head-t.tail)]
		k := copy(b, t.bytes[t.tail%pipeBytes:])
		copy(b[k:], t.bytes)
		t.tail += len(b)
		n += len(b)
	}
	t.writers.wake()
	return n, nil
}

func (p *pipe) Write(bufs [][]byte, _ bool) (int, error) {
	t := p.out
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head-t.tail == pipeBytes {
		return 0, ErrAgain
	}
	n := 0
	for _, b := range bufs {
		b = b[:min(len(b), pipeBytes-(t.head-t.tail))]
		k := copy(t.bytes[t.head%pipeBytes:], b)
		copy(t.bytes, b[k:])
		t.head += len(b)
		n += len(b)
	}
	t.readers.wake()
	return n, nil
}

func (p *pipe) Flush() error { return nil }

func (p *pipe) AwaitRead(s *Sleeper) bool {
	t := p.in
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readers.add(s)
	return t.head != t.tail || t.finished
}

func (p *pipe) AwaitWrite(s *Sleeper) bool {
	t := p.out
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writers.add(s)
	return t.head-t.tail != pipeBytes
}

func (p *pipe) AwaitTaken(s *Sleeper, n uint64) bool {
	t := p.out
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writers.add(s)
	return t.taken >= n
}

func (p *pipe) Finish() {
	t := p.out
	t.mu.Lock()
	defer t.mu.Unlock()
	t.finished = true
	t.readers.wake()
}

func (p *pipe) Unacked() int { return 0 }
func (p *pipe) Close()       {}

// Offset gives b the next number for an offset. It stays in the list until it is viewed.
func (p *pipe) Offset(b []byte) (uint64, bool) {
	t := p.out
	t.mu.Lock()
	defer t.mu.Unlock()
	t.offered = append(t.offered, b)
	return t.first + uint64(len(t.offered)) - 1, true
}

// View returns what has this offset, and forgets it and all before it, whose messages were not sent
// in place after all.
func (p *pipe) View(offset, n uint64) ([]byte, error) {
	t := p.in
	t.mu.Lock()
	defer t.mu.Unlock()
	i := offset - t.first
	if offset < t.first || i >= uint64(len(t.offered)) || uint64(len(t.offered[i])) != n {
		return nil, fmt.Errorf("nothing of %d bytes is at offset %d: %w", n, offset, transport.ErrProtocol)
	}
	b := t.offered[i]
	clear(t.offered[:i+1])
	t.offered = t.offered[i+1:]
	t.first = offset + 1
	return b, nil
}

func (p *pipe) Took() {
	t := p.in
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken++
	t.writers.wake()
}

func (p *pipe) Taken() uint64 {
	t := p.out
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.taken
}

func (p *pipe) Revoke() {
	t := p.out
	t.mu.Lock()
	defer t.mu.Unlock()
	t.revoked = true
}

func (p *pipe) Revoked() bool {
	t := p.in
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.revoked
}
