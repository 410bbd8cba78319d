package grpc

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/transport/internal/controlpb"
)

const (
	// maxNotes is how many frames wait to be sent.
	maxNotes = 16
	// urgentBytes is the length from which Write waits for the peer to confirm a frame. Heartbeats
	// are shorter. Aborts are longer, and a rank that sends one may end its process as
	// soon as Write returns, with all that gRPC has not sent.
	urgentBytes = 64
)

// control is a control stream: a net.Conn over a gRPC stream of notes. Write has one user at a
// time, and so has Read.
type control struct {
	stream *stream
	rest   []byte // of the frame being read
	heard  uint64 // frames that have come in; belongs to Read

	notes    chan *controlpb.Note
	sent     uint64        // frames written; belongs to Write
	seen     atomic.Uint64 // of which the peer has seen this many
	news     chan struct{} // seen has grown
	deadline atomic.Int64  // of Write, as UnixNano; 0 is none

	closing   chan struct{}
	closeOnce sync.Once
	sender    chan struct{} // closed when nothing is sent any more
}

var _ net.Conn = (*control)(nil)

// newControl makes a control stream of a gRPC stream that has been opened. Its goroutine is one of
// wg and ends with Close or with the stream.
func newControl(s *stream, wg *sync.WaitGroup) *control {
	c := &control{
		stream: s, notes: make(chan *controlpb.Note, maxNotes), news: make(chan struct{}, 1),
		closing: make(chan struct{}), sender: make(chan struct{}),
	}
	wg.Go(c.run)
	return c
}

// run sends notes until the stream is closed.
func (c *control) run() {
	defer close(c.sender)
	for {
		select {
		case n := <-c.notes:
			if c.stream.send(n) != nil {
				return
			}
		case <-c.closing:
			return
		case <-c.stream.Context().Done():
			return
		}
	}
}

// Write sends b as one frame.
func (c *control) Write(b []byte) (int, error) {
	timer, stop := c.timer()
	defer stop()
	n := &controlpb.Note{Frame: append([]byte(nil), b...), Confirm: len(b) >= urgentBytes}
	if err := c.enqueue(n, timer); err != nil {
		return 0, err
	}
	c.sent++
	for n.Confirm && c.seen.Load() < c.sent {
		select {
		case <-c.news:
		case <-timer:
			return len(b), os.ErrDeadlineExceeded
		case <-c.closing:
			return len(b), net.ErrClosed
		case <-c.stream.Context().Done():
			return len(b), context.Cause(c.stream.Context())
		}
	}
	return len(b), nil
}

func (c *control) enqueue(n *controlpb.Note, timer <-chan time.Time) error {
	select {
	case c.notes <- n:
		return nil
	case <-timer:
		return os.ErrDeadlineExceeded
	case <-c.closing:
		return net.ErrClosed
	case <-c.sender:
		return net.ErrClosed
	}
}

// timer returns what fires at the deadline, if there is one.
func (c *control) timer() (<-chan time.Time, func() bool) {
	at := c.deadline.Load()
	if at == 0 {
		return nil, func() bool { return false }
	}
	t := time.NewTimer(time.Until(time.Unix(0, at)))
	return t.C, t.Stop
}

// Read reads from the frame at hand or waits for the next one.
func (c *control) Read(b []byte) (int, error) {
	for len(c.rest) == 0 {
		var n controlpb.Note
		if err := c.stream.receive(&n); err != nil {
			return 0, err
		}
		c.note(&n)
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// note handles what the peer says.
func (c *control) note(n *controlpb.Note) {
	if n.Seen > c.seen.Load() {
		c.seen.Store(n.Seen)
		select {
		case c.news <- struct{}{}:
		default:
		}
	}
	if n.Frame == nil {
		return
	}
	c.rest = n.Frame
	if c.heard++; n.Confirm {
		_ = c.enqueue(&controlpb.Note{Seen: c.heard}, nil) // nobody waits if the stream is gone
	}
}

// Close ends the stream. Frames that the peer has not confirmed may be lost.
func (c *control) Close() error {
	c.closeOnce.Do(func() { close(c.closing) })
	c.stream.end()
	return nil
}

// SetWriteDeadline bounds the calls of Write that follow.
func (c *control) SetWriteDeadline(t time.Time) error {
	at := int64(0)
	if !t.IsZero() {
		at = t.UnixNano()
	}
	c.deadline.Store(at)
	return nil
}

// SetReadDeadline is not offered: heartbeats find a silent peer, and Close ends a Read.
func (c *control) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetDeadline is not offered, as SetReadDeadline is not.
func (c *control) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// LocalAddr and RemoteAddr name the method, as a stream has no address of its own.
func (c *control) LocalAddr() net.Addr  { return streamAddr{} }
func (c *control) RemoteAddr() net.Addr { return streamAddr{} }

type streamAddr struct{}

func (streamAddr) Network() string { return "grpc" }
func (streamAddr) String() string  { return "/" + serviceName + "/" + controlMethod }
