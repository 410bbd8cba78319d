//go:build linux && !purego

package shmlane

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// Lane is a data lane of shared memory. It implements mesh.Sharer.
type Lane struct {
	memory []byte // both rings
	in     reader
	out    writer

	arena *Arena // this rank's; not the lane's to close
	peers []byte // the peer's, for reading

	inBell, outBell         int // what ends this side's sleep, for want of bytes and of room
	peerInBell, peerOutBell int // the same of the peer's side
}

var _ mesh.Sharer = (*Lane)(nil)

// newLane lays the two rings over memory. The rank that made the memory writes to the first.
func newLane(memory []byte, ringBytes int, made bool) *Lane {
	first, second := ringAt(memory, ringBytes), ringAt(memory[controlBytes+ringBytes:], ringBytes)
	if !made {
		first, second = second, first
	}
	return &Lane{
		memory: memory, out: writer{ring: first}, in: reader{ring: second},
		inBell: -1, outBell: -1, peerInBell: -1, peerOutBell: -1,
	}
}

// laneBytes is the memory that a lane takes.
func laneBytes(ringBytes int) int { return 2 * (controlBytes + ringBytes) }

// Read copies what has come.
func (l *Lane) Read(bufs [][]byte) (int, error) {
	n, err := l.in.read(bufs)
	if n > 0 && l.in.writerWaits.Load() != 0 {
		l.in.writerWaits.Store(0)
		ringBell(l.peerOutBell)
	}
	return n, err
}

// Write copies what there is room for.
func (l *Lane) Write(bufs [][]byte, _ bool) (int, error) {
	n, err := l.out.write(bufs)
	if n > 0 {
		l.tell()
	}
	return n, err
}

// tell wakes the peer's reader if it sleeps.
func (l *Lane) tell() {
	if l.out.readerWaits.Load() != 0 {
		l.out.readerWaits.Store(0)
		ringBell(l.peerInBell)
	}
}

// Flush has nothing to do: the peer sees what is written.
func (l *Lane) Flush() error { return nil }

// AwaitRead has s woken once there are bytes.
func (l *Lane) AwaitRead(s *mesh.Sleeper) bool {
	l.in.readerWaits.Store(1)
	s.WatchBell(l.inBell)
	return l.in.hasBytes()
}

// AwaitWrite has s woken once there is room.
func (l *Lane) AwaitWrite(s *mesh.Sleeper) bool {
	l.out.writerWaits.Store(1)
	s.WatchBell(l.outBell)
	return l.out.hasRoom()
}

// AwaitTaken has s woken once a placed message has been taken.
func (l *Lane) AwaitTaken(s *mesh.Sleeper, n uint64) bool {
	l.out.writerWaits.Store(1)
	s.WatchBell(l.outBell)
	return l.Taken() >= n
}

// Finish ends the sending direction.
func (l *Lane) Finish() {
	l.out.finished.Store(1)
	l.tell()
}

// Unacked is 0: the memory outlives this process for as long as the peer has it.
func (l *Lane) Unacked() int { return 0 }

// Close frees the lane.
func (l *Lane) Close() {
	_ = unix.Munmap(l.memory)
	_ = unix.Munmap(l.peers)
	closeAll(l.inBell, l.outBell, l.peerInBell, l.peerOutBell)
	l.memory, l.peers = nil, nil
}

// Place returns where b lies in this rank's arena.
func (l *Lane) Place(b []byte) (uint64, bool) { return l.arena.Offset(b) }

var errOutside = errors.New("outside the peer's memory")

// View returns a part of the peer's arena, for reading.
func (l *Lane) View(offset, n uint64) ([]byte, error) {
	size := uint64(len(l.peers))
	if offset > size || n > size-offset {
		return nil, fmt.Errorf("%d bytes at %d of %d: %w", n, offset, size, errOutside)
	}
	return l.peers[offset : offset+n : offset+n], nil
}

// Took counts a placed message as copied, and wakes its sender if it sleeps.
func (l *Lane) Took() {
	l.in.taken.Add(1)
	if l.in.writerWaits.Load() != 0 {
		l.in.writerWaits.Store(0)
		ringBell(l.peerOutBell)
	}
}

// Taken is how many messages the peer has copied.
func (l *Lane) Taken() uint64 { return l.out.taken.Load() }

// Revoke tells the peer that placed messages may have changed.
func (l *Lane) Revoke() { l.out.revoked.Store(1) }

// Revoked reports whether the peer's may have.
func (l *Lane) Revoked() bool { return l.in.revoked.Load() != 0 }

// ringBell ends the sleep of whoever watches the bell. It fails only where so many signals are
// pending that one more makes no difference.
func ringBell(fd int) { _, _ = unix.Write(fd, one) }

// one is what is written to a bell. It is kept, as the race detector moves buffers of system calls
// to the heap.
var one = []byte{0, 0, 0, 0, 0, 0, 0, 1}
