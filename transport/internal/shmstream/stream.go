//go:build linux && !purego

package shmstream

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// Stream is a data stream of shared memory. It implements mesh.Sharer.
type Stream struct {
	memory []byte // both rings
	in     reader
	out    writer

	arena *Arena // this rank's; not the stream's to close
	peers []byte // the peer's, for reading

	inBell, outBell         int // what ends this side's sleep, for want of bytes and of room
	peerInBell, peerOutBell int // the same of the peer's side
}

var _ mesh.Sharer = (*Stream)(nil)

// newStream lays the two rings over memory. The rank that made the memory writes to the first.
func newStream(memory []byte, ringBytes int, made bool) *Stream {
	first, second := ringAt(memory, ringBytes), ringAt(memory[controlBytes+ringBytes:], ringBytes)
	if !made {
		first, second = second, first
	}
	return &Stream{
		memory: memory, out: writer{ring: first}, in: reader{ring: second},
		inBell: -1, outBell: -1, peerInBell: -1, peerOutBell: -1,
	}
}

// streamBytes is the memory that a stream takes.
func streamBytes(ringBytes int) int { return 2 * (controlBytes + ringBytes) }

// Read copies what has come.
func (l *Stream) Read(bufs [][]byte) (int, error) {
	n, err := l.in.read(bufs)
	if n > 0 && l.in.writerWaits.Load() != 0 {
		l.in.writerWaits.Store(0)
		ringBell(l.peerOutBell)
	}
	return n, err
}

// Write copies what there is room for.
func (l *Stream) Write(bufs [][]byte, _ bool) (int, error) {
	n, err := l.out.write(bufs)
	if n > 0 {
		l.wakeReader()
	}
	return n, err
}

// wakeReader wakes the peer's reader if it sleeps.
func (l *Stream) wakeReader() {
	if l.out.readerWaits.Load() != 0 {
		l.out.readerWaits.Store(0)
		ringBell(l.peerInBell)
	}
}

// Flush has nothing to do: the peer sees what is written.
func (l *Stream) Flush() error { return nil }

// AwaitRead has s woken once there are bytes.
func (l *Stream) AwaitRead(s *mesh.Sleeper) bool {
	l.in.readerWaits.Store(1)
	s.WatchBell(l.inBell)
	return l.in.hasBytes()
}

// AwaitWrite has s woken once there is room.
func (l *Stream) AwaitWrite(s *mesh.Sleeper) bool {
	l.out.writerWaits.Store(1)
	s.WatchBell(l.outBell)
	return l.out.hasRoom()
}

// AwaitTaken has s woken once a message in place has been taken.
func (l *Stream) AwaitTaken(s *mesh.Sleeper, n uint64) bool {
	l.out.writerWaits.Store(1)
	s.WatchBell(l.outBell)
	return l.Taken() >= n
}

// Finish ends the sending direction.
func (l *Stream) Finish() {
	l.out.finished.Store(1)
	l.wakeReader()
}

// Unacked is 0: the memory outlives this process for as long as the peer has it.
func (l *Stream) Unacked() int { return 0 }

// Close frees the stream.
func (l *Stream) Close() {
	_ = unix.Munmap(l.memory)
	_ = unix.Munmap(l.peers)
	closeAll(l.inBell, l.outBell, l.peerInBell, l.peerOutBell)
	l.memory, l.peers = nil, nil
}

// Offset returns where b lies in this rank's arena.
func (l *Stream) Offset(b []byte) (uint64, bool) { return l.arena.Offset(b) }

var errOutside = errors.New("outside the peer's memory")

// View returns a part of the peer's arena, for reading.
func (l *Stream) View(offset, n uint64) ([]byte, error) {
	size := uint64(len(l.peers))
	if offset > size || n > size-offset {
		return nil, fmt.Errorf("%d bytes at %d of %d: %w", n, offset, size, errOutside)
	}
	return l.peers[offset : offset+n : offset+n], nil
}

// Took counts a message in place as copied, and wakes its sender if it sleeps.
func (l *Stream) Took() {
	l.in.taken.Add(1)
	if l.in.writerWaits.Load() != 0 {
		l.in.writerWaits.Store(0)
		ringBell(l.peerOutBell)
	}
}

// Taken is how many messages the peer has copied.
func (l *Stream) Taken() uint64 { return l.out.taken.Load() }

// Revoke tells the peer that messages in place may have changed.
func (l *Stream) Revoke() { l.out.revoked.Store(1) }

// Revoked reports whether the peer's may have.
func (l *Stream) Revoked() bool { return l.in.revoked.Load() != 0 }

// ringBell ends the sleep of the rank that watches the eventfd. It fails only if its counter is
// full, and then the rank is woken anyway.
func ringBell(fd int) { _, _ = unix.Write(fd, one) }

// one is what is written to a bell. It is kept, as the race detector moves buffers of system calls
// to the heap.
var one = []byte{0, 0, 0, 0, 0, 0, 0, 1}
