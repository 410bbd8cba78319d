package grpc

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"google.golang.org/grpc/mem"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// maxQueued is how many bytes wait in a stream to be read before gRPC keeps what follows, and
// behind that the peer, once the stream's window is used up.
const maxQueued = 256 << 10

// recvSide is the receiving half of a data stream: one goroutine takes chunks from gRPC and queues
// them, by reference.
type recvSide struct {
	chunk mem.BufferSlice // being read; belongs to Read
	at    int             // bytes of chunk[0] that have been read

	mu     sync.Mutex
	room   sync.Cond // the queue has become shorter, or closed
	queue  []mem.BufferSlice
	queued int   // bytes in queue
	ended  error // why nothing follows the queue
	closed bool
	reader *mesh.Sleeper
}

// run receives until the stream ends. marked is called with each chunk that is no data.
func (in *recvSide) run(s *stream, marked func(kind byte)) {
	for {
		var m inbound
		if err := s.RecvMsg(&m); err != nil {
			in.fail(fmt.Errorf("stream ended: %w", explained(printable.Error(withoutEOF(err), maxText))))
			return
		}
		kind, err := kindOf(m.data)
		switch {
		case err != nil:
			m.data.Free()
			in.fail(err)
			return
		case kind == kindData:
			in.put(m.data)
		default:
			m.data.Free()
			if kind == kindEnd {
				in.fail(io.EOF)
			}
			marked(kind)
		}
	}
}

// withoutEOF makes an end that nobody announced an error.
func withoutEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// kindOf checks a chunk and returns what it is.
func kindOf(data mem.BufferSlice) (byte, error) {
	n := data.Len()
	if n == 0 {
		return 0, fmt.Errorf("chunk without a kind: %w", transport.ErrProtocol)
	}
	var kind [1]byte
	data.CopyTo(kind[:])
	if kind[0] > kindEndSeen || (n > 1) != (kind[0] == kindData) {
		return 0, fmt.Errorf("chunk of kind %d and %d bytes: %w", kind[0], n, transport.ErrProtocol)
	}
	return kind[0], nil
}

// put queues a chunk and waits until the queue is short again.
func (in *recvSide) put(data mem.BufferSlice) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed || in.ended != nil {
		data.Free() // after the end there is nothing to read
		return
	}
	in.queue = append(in.queue, data)
	in.queued += data.Len()
	in.wake()
	for in.queued > maxQueued && !in.closed {
		in.room.Wait()
	}
}

// fail has Read return err once it has read what is queued.
func (in *recvSide) fail(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended == nil {
		in.ended = err
	}
	in.wake()
}

// wake ends the reader's sleep. mu is held.
func (in *recvSide) wake() {
	if in.reader != nil {
		in.reader.Wake()
		in.reader = nil
	}
}

// Read implements mesh.Stream.
func (in *recvSide) Read(bufs [][]byte) (int, error) {
	n := 0
	for _, b := range bufs {
		for len(b) > 0 {
			if len(in.chunk) == 0 {
				if err := in.next(); err != nil {
					if n > 0 {
						return n, nil
					}
					if err == mesh.ErrAgain {
						runtime.Gosched() // the goroutines that move bytes are of this process
					}
					return 0, err
				}
			}
			moved := copy(b, in.chunk[0].ReadOnlyData()[in.at:])
			b = b[moved:]
			n += moved
			in.skip(moved)
		}
	}
	return n, nil
}

// skip moves on within the chunk, and frees its buffers as they have been read.
func (in *recvSide) skip(n int) {
	if in.at += n; in.at == in.chunk[0].Len() {
		in.chunk[0].Free()
		in.chunk = in.chunk[1:]
		in.at = 0
	}
}

// next takes the first chunk off the queue.
func (in *recvSide) next() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) == 0 {
		if in.ended != nil {
			return in.ended
		}
		return mesh.ErrAgain
	}
	in.chunk = in.queue[0]
	in.queue[0] = nil
	if in.queue = in.queue[1:]; len(in.queue) == 0 {
		in.queue = nil
	}
	if in.queued -= in.chunk.Len(); in.queued <= maxQueued {
		in.room.Signal()
	}
	in.skip(1) // the kind
	return nil
}

// AwaitRead implements mesh.Stream.
func (in *recvSide) AwaitRead(s *mesh.Sleeper) bool {
	if len(in.chunk) > 0 {
		return true
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) > 0 || in.ended != nil {
		return true
	}
	in.reader = s
	return false
}

// close frees what has not been read and lets run go on, so that it finds the stream's end.
func (in *recvSide) close() {
	in.chunk.Free()
	in.chunk = nil
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, c := range in.queue {
		c.Free()
	}
	in.queue, in.queued, in.closed = nil, 0, true
	in.room.Signal()
}
