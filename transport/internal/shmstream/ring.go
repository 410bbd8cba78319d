//go:build linux && !purego

package shmstream

import (
	"fmt"
	"io"
	"sync/atomic"
	"unsafe"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// line keeps what different processors write to in different cache lines, prefetched neighbours
// included.
const line = 128

// control is what the two ends of a ring tell each other. It lies in shared memory.
type control struct {
	head        atomic.Uint64 // bytes written; the writer's
	_           [line - 8]byte
	tail        atomic.Uint64 // bytes read; the reader's
	_           [line - 8]byte
	readerWaits atomic.Uint32 // the reader sleeps until there are bytes
	_           [line - 4]byte
	writerWaits atomic.Uint32 // the writer sleeps until there is room, or an in-place message is taken
	_           [line - 4]byte
	taken       atomic.Uint64 // messages in place copied; the reader's
	_           [line - 8]byte
	finished    atomic.Uint32 // no byte will follow; the writer's
	revoked     atomic.Uint32 // messages in place may have changed; the writer's
	_           [line - 8]byte
}

// controlBytes is the room that a control takes.
const controlBytes = 4096

var _ [controlBytes - unsafe.Sizeof(control{})]byte // it fits

// ring is a bounded stream of bytes in shared memory: its control and then a power of two of bytes.
type ring struct {
	*control
	data []byte
}

// ringAt lays a ring over memory, of which it takes controlBytes + size.
func ringAt(memory []byte, size int) ring {
	return ring{(*control)(unsafe.Pointer(unsafe.SliceData(memory))), memory[controlBytes : controlBytes+size : controlBytes+size]}
}

// writer is the sending end. Its position is kept out of the peer's reach.
type writer struct {
	ring
	at uint64
}

// write copies as much of bufs as there is room for.
func (w *writer) write(bufs [][]byte) (int, error) {
	used := w.at - w.tail.Load()
	if used > uint64(len(w.data)) {
		return 0, fmt.Errorf("peer has read %d bytes more than were written: %w", -used, transport.ErrCorrupt)
	}
	room := len(w.data) - int(used)
	if room == 0 {
		return 0, mesh.ErrAgain
	}
	n := 0
	for _, b := range bufs {
		b = b[:min(len(b), room-n)]
		at := (w.at + uint64(n)) & uint64(len(w.data)-1)
		k := copy(w.data[at:], b)
		copy(w.data, b[k:])
		n += len(b)
	}
	w.at += uint64(n)
	w.head.Store(w.at)
	return n, nil
}

// hasRoom reports whether write can do something.
func (w *writer) hasRoom() bool { return w.at-w.tail.Load() != uint64(len(w.data)) }

// reader is the receiving end. Its position is kept out of the peer's reach.
type reader struct {
	ring
	at uint64
}

// read copies what there is into bufs.
func (r *reader) read(bufs [][]byte) (int, error) {
	have := r.head.Load() - r.at
	if have == 0 {
		return 0, r.ended()
	}
	if have > uint64(len(r.data)) {
		return 0, fmt.Errorf("%d bytes in a ring of %d: %w", have, len(r.data), transport.ErrCorrupt)
	}
	n := 0
	for _, b := range bufs {
		b = b[:min(len(b), int(have)-n)]
		at := (r.at + uint64(n)) & uint64(len(r.data)-1)
		k := copy(b, r.data[at:])
		copy(b[k:], r.data)
		n += len(b)
	}
	r.at += uint64(n)
	r.tail.Store(r.at)
	return n, nil
}

// ended tells an empty ring from one that stays empty.
func (r *reader) ended() error {
	if r.finished.Load() != 0 && r.head.Load() == r.at {
		return io.EOF
	}
	return mesh.ErrAgain
}

// hasBytes reports whether read can do something.
func (r *reader) hasBytes() bool { return r.head.Load() != r.at || r.finished.Load() != 0 }
