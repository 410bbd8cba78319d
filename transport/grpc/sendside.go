package grpc

import (
	"sync"

	"google.golang.org/grpc/mem"

	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// What a chunk is, told by its first byte.
const (
	kindData    byte = iota
	kindEnd          // the direction ends
	kindEndSeen      // the other direction has come to its end here
)

const (
	// bufferBytes is the length of the buffers that chunks are made of. gRPC gives each back once
	// it has written it.
	bufferBytes = 32 << 10
	// chunkBytes bounds a chunk, far below the 4 MiB from which gRPC refuses messages unless told
	// otherwise.
	chunkBytes = 256 << 10
	// lowBytes is how much gRPC may still have to write when it is given more. It accepts a message
	// without waiting while less than 64 KiB of the stream are unwritten.
	lowBytes = 48 << 10
	// maxBuffers bounds the buffers of a stream.
	maxBuffers = 2 * chunkBytes / bufferBytes
)

// sendSide is the sending half of a data stream. What Write takes is copied into buffers of the
// stream, as the caller's are the caller's again when gRPC may not have written them yet.
type sendSide struct {
	stream *stream
	out    outbound

	sending sync.Mutex // serialises SendMsg; Write never waits for it

	mu        sync.Mutex
	free      []*[]byte // the last to come back first, which the caches may still hold
	made      int       // buffers there are
	unwritten int       // bytes that gRPC has not written yet
	due       bool      // an end must be sent once there is room
	ending    bool      // Finish has been called
	confirmed bool      // the peer has seen the end
	over      bool      // the stream has ended: there is nothing to wait for
	writer    *mesh.Sleeper
}

// Get and Put make an sendSide the mem.BufferPool of its own buffers. Put is called by gRPC's
// writer.
func (o *sendSide) Get(int) *[]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.take()
}

func (o *sendSide) take() *[]byte {
	if n := len(o.free); n > 0 {
		b := o.free[n-1]
		o.free = o.free[:n-1]
		return b
	}
	if o.made == maxBuffers {
		return nil
	}
	o.made++
	b := make([]byte, bufferBytes)
	return &b
}

func (o *sendSide) Put(b *[]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unwritten -= len(*b)
	*b = (*b)[:bufferBytes]
	o.free = append(o.free, b)
	if o.hasRoom() {
		o.wake()
	}
}

// hasRoom reports whether gRPC would take a message without waiting. mu is held.
func (o *sendSide) hasRoom() bool {
	return o.over || o.unwritten <= lowBytes && (len(o.free) > 0 || o.made < maxBuffers)
}

// stop has a writer that waits for room find that the stream has ended.
func (o *sendSide) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	o.wake()
}

// wake ends the writer's sleep. mu is held.
func (o *sendSide) wake() {
	if o.writer != nil {
		o.writer.Wake()
		o.writer = nil
	}
}

// Write implements mesh.Stream.
func (o *sendSide) Write(bufs [][]byte, _ bool) (int, error) {
	if !o.sending.TryLock() {
		return 0, mesh.ErrAgain
	}
	defer o.unlock()
	buffers := o.reserve(bufs)
	if buffers == nil {
		return 0, mesh.ErrAgain
	}
	chunk, n := o.fill(buffers, bufs)
	o.out.data = chunk
	if err := o.stream.SendMsg(&o.out); err != nil {
		return 0, withoutEOF(err)
	}
	return n, nil
}

// unlock lets others send.
func (o *sendSide) unlock() {
	o.sending.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wake()
}

// reserve takes buffers for as much of bufs as a chunk may hold, or none if there is no room.
func (o *sendSide) reserve(bufs [][]byte) []*[]byte {
	want := 1
	for _, b := range bufs {
		want += len(b)
	}
	want = min(want, chunkBytes)
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.hasRoom() {
		return nil
	}
	buffers := make([]*[]byte, 0, (want+bufferBytes-1)/bufferBytes)
	for want > 0 {
		b := o.take()
		if b == nil {
			break
		}
		*b = (*b)[:min(want, bufferBytes)]
		want -= len(*b)
		o.unwritten += len(*b)
		buffers = append(buffers, b)
	}
	return buffers
}

// fill makes a chunk of the start of bufs, which fills buffers, and returns how many bytes of bufs
// are in it.
func (o *sendSide) fill(buffers []*[]byte, bufs [][]byte) (mem.BufferSlice, int) {
	chunk := make(mem.BufferSlice, len(buffers))
	n, i, off := 0, 0, 0
	for k, b := range buffers {
		room := *b
		if k == 0 {
			room[0] = kindData
			room = room[1:]
		}
		for len(room) > 0 {
			moved := copy(room, bufs[i][off:])
			room = room[moved:]
			n += moved
			if off += moved; off == len(bufs[i]) {
				i, off = i+1, 0
			}
		}
		chunk[k] = mem.NewBuffer(b, o)
	}
	return chunk, n
}

// Flush implements mesh.Stream. gRPC sends by itself.
func (o *sendSide) Flush() error { return nil }

// AwaitWrite implements mesh.Stream.
func (o *sendSide) AwaitWrite(s *mesh.Sleeper) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writer = s
	if !o.sending.TryLock() {
		return false // the call that sends now wakes the writer
	}
	o.sending.Unlock()
	return o.hasRoom()
}

// Finish implements mesh.Stream. Where there is no room yet for the end, Unacked sends it.
func (o *sendSide) Finish() {
	o.mu.Lock()
	o.due, o.ending = true, true
	o.mu.Unlock()
	o.sendDue()
}

func (o *sendSide) sendDue() {
	if !o.sending.TryLock() {
		return
	}
	defer o.sending.Unlock()
	o.mu.Lock()
	now := o.due && o.hasRoom()
	o.due = o.due && !now
	o.mu.Unlock()
	if now {
		_ = o.sendMark(kindEnd) // if it fails, the other half of the stream finds out
	}
}

// sendMark sends a chunk without data. sending is held.
func (o *sendSide) sendMark(kind byte) error {
	return o.stream.SendMsg(&outbound{mem.BufferSlice{mem.SliceBuffer([]byte{kind})}})
}

// confirm tells the peer that its end has been seen. It may wait for room, or for the end of the
// stream.
func (o *sendSide) confirm() {
	o.sending.Lock()
	defer o.unlock()
	_ = o.sendMark(kindEndSeen)
}

// seen notes that the peer has seen the end.
func (o *sendSide) seen() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.confirmed = true
}

// left is how many bytes the peer may not have got: all that gRPC has not written and, before the
// end is confirmed, at least one.
func (o *sendSide) left() int {
	o.sendDue()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ending && !o.confirmed {
		return max(1, o.unwritten)
	}
	return o.unwritten
}
