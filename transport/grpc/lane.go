package grpc

import (
	"sync"

	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// lane is a data lane: a stream of bytes in chunks. It is a mesh.Stream.
//
// Bytes are copied twice in this process besides what gRPC and the system do: into buffers of the
// lane when they are sent, and from gRPC's buffers to where the caller wants them when they are
// received.
type lane struct {
	inlet
	outlet
	stream *stream
}

var _ mesh.Stream = (*lane)(nil)

// newLane makes a lane of a stream that has been opened. Its goroutine is one of wg and ends with
// the stream.
func newLane(s *stream, wg *sync.WaitGroup) *lane {
	l := &lane{stream: s}
	l.room.L = &l.inlet.mu
	l.outlet.stream = s
	wg.Go(func() {
		l.run(s, l.marked)
		l.stop()
	})
	return l
}

// marked deals with a chunk that is no data.
func (l *lane) marked(kind byte) {
	if kind == kindEnd {
		l.confirm()
	} else {
		l.seen()
	}
}

// Unacked implements mesh.Stream. Who has confirmed the end, or is gone, needs nothing more.
func (l *lane) Unacked() int {
	if l.gone() {
		return 0
	}
	return l.left()
}

// gone reports whether the stream has ended.
func (l *lane) gone() bool { return l.stream.Context().Err() != nil }

// Close implements mesh.Stream.
func (l *lane) Close() {
	l.stream.end()
	l.inlet.close()
}
