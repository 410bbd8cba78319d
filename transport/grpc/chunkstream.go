package grpc

import (
	"sync"

	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// chunkStream is a data stream: bytes in chunks. It is a mesh.Stream.
//
// Bytes are copied twice in this process besides what gRPC and the system do: into buffers of the
// stream when they are sent, and from gRPC's buffers to where the caller wants them when they are
// received.
type chunkStream struct {
	recvSide
	sendSide
	stream *stream
}

var _ mesh.Stream = (*chunkStream)(nil)

// newChunkStream makes a data stream of a gRPC stream that has been opened. Its goroutine is one of
// wg and ends with the stream.
func newChunkStream(s *stream, wg *sync.WaitGroup) *chunkStream {
	l := &chunkStream{stream: s}
	l.room.L = &l.recvSide.mu
	l.sendSide.stream = s
	wg.Go(func() {
		l.run(s, l.marked)
		l.stop()
	})
	return l
}

// marked handles a chunk that is no data.
func (l *chunkStream) marked(kind byte) {
	if kind == kindEnd {
		l.confirm()
	} else {
		l.seen()
	}
}

// Unacked implements mesh.Stream. A peer that has confirmed the end, or is gone, needs nothing
// more.
func (l *chunkStream) Unacked() int {
	if l.gone() {
		return 0
	}
	return l.left()
}

// gone reports whether the stream has ended.
func (l *chunkStream) gone() bool { return l.stream.Context().Err() != nil }

// Close implements mesh.Stream.
func (l *chunkStream) Close() {
	l.stream.end()
	l.recvSide.close()
}
