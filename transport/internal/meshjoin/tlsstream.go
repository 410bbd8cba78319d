package meshjoin

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

const (
	// recordBytes is the most that a TLS record carries.
	recordBytes = 16 << 10
	// burstBytes is what is encrypted before the kernel gets it.
	burstBytes = 4 * recordBytes
)

// tlsStream is a data stream under TLS. Its ends share a wire that never waits.
type tlsStream struct {
	tls   *tls.Conn
	wire  *wire
	stage []byte   // what is to share a record: headers and small payloads
	rest  [][]byte // what Write has not taken yet
	done  bool     // nothing more is written
}

var _ mesh.Stream = (*tlsStream)(nil)

// Read implements mesh.Stream.
func (l *tlsStream) Read(bufs [][]byte) (int, error) {
	got := 0
	for _, b := range bufs {
		for len(b) > 0 {
			n, err := l.tls.Read(b)
			got += n
			b = b[n:]
			if err != nil && got > 0 {
				return got, nil // the fault will be found again
			}
			if err != nil {
				return 0, readFault(err)
			}
		}
	}
	return got, nil
}

// readFault states an error of reading as a stream does. What does not decrypt was changed on the
// way.
func readFault(err error) error {
	var op *net.OpError
	var header tls.RecordHeaderError
	switch {
	case errors.Is(err, nothing{}):
		return mesh.ErrAgain
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.As(err, &header), errors.As(err, &op) && op.Op == "local error":
		return fmt.Errorf("%w: %w", transport.ErrCorrupt, err)
	}
	return err
}

// Write implements mesh.Stream. It encrypts no more than the kernel is likely to take soon.
func (l *tlsStream) Write(bufs [][]byte, more bool) (int, error) {
	l.rest = append(l.rest[:0], bufs...)
	defer clear(l.rest) // no reference outlives the call
	taken := 0
	for at := l.rest; ; {
		left, err := l.wire.flush(more || len(at) > 0)
		if err != nil {
			return 0, err
		}
		if left >= wireBehind || len(at) == 0 {
			break
		}
		var n int
		if n, at, err = l.encrypt(at); err != nil {
			return 0, err
		}
		taken += n
	}
	if taken == 0 {
		return 0, mesh.ErrAgain
	}
	return taken, nil
}

// encrypt puts a burst of bufs into records, and returns its length and what is left. What lies
// scattered shares a record; what fills one is not copied for that.
func (l *tlsStream) encrypt(bufs [][]byte) (n int, rest [][]byte, err error) {
	for n < burstBytes && len(bufs) > 0 && err == nil {
		b := bufs[0]
		part := 0
		if len(l.stage) == 0 && len(b) >= recordBytes {
			part = min(len(b), burstBytes-n)
			_, err = l.tls.Write(b[:part])
		} else {
			part = min(len(b), recordBytes-len(l.stage))
			l.stage = append(l.stage, b[:part]...)
			if len(l.stage) == recordBytes {
				err = l.emit()
			}
		}
		n += part
		if bufs[0] = b[part:]; len(bufs[0]) == 0 {
			bufs = bufs[1:]
		}
	}
	return n, bufs, errors.Join(err, l.emit())
}

// emit makes a record of what is staged.
func (l *tlsStream) emit() error {
	if len(l.stage) == 0 {
		return nil
	}
	_, err := l.tls.Write(l.stage)
	l.stage = l.stage[:0]
	return err
}

// Flush implements mesh.Stream.
func (l *tlsStream) Flush() error {
	left, err := l.wire.flush(false)
	if err == nil && left > 0 {
		err = mesh.ErrAgain
	}
	return err
}

// AwaitRead and AwaitWrite wait for the descriptor: after ErrAgain TLS holds no whole record.
func (l *tlsStream) AwaitRead(s *mesh.Sleeper) bool  { return l.wire.socket.AwaitRead(s) }
func (l *tlsStream) AwaitWrite(s *mesh.Sleeper) bool { return l.wire.socket.AwaitWrite(s) }

// Finish implements mesh.Stream. TLS's own end of the connection is not sent: the control stream
// says goodbye, and here it would be bytes that a peer which has closed before never confirms.
func (l *tlsStream) Finish() {
	l.done = true
	_ = l.Unacked()
}

// Unacked implements mesh.Stream. It goes on with what is left to send.
func (l *tlsStream) Unacked() int {
	left, err := l.wire.flush(false)
	if err != nil {
		return 0
	}
	if l.done && left == 0 {
		l.wire.socket.Finish()
		l.done = false
	}
	return left + l.wire.socket.Unacked()
}

// Close implements mesh.Stream.
func (l *tlsStream) Close() { l.wire.socket.Close() }
