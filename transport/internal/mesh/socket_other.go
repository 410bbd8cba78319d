//go:build !linux || purego

package mesh

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"time"
)

// Socket is a data stream over TCP where the system offers nothing better than net: what would
// block is cut short by a deadline. It is right everywhere and tuned nowhere.
type Socket struct {
	conn *net.TCPConn
}

// attemptTimeout is how long one attempt may wait for the socket.
const attemptTimeout = 200 * time.Microsecond

// NewSocket takes the connection over: the caller does not use c any more.
func NewSocket(c *net.TCPConn) (*Socket, error) { return &Socket{conn: c}, nil }

// Read reads into the first of bufs. It returns ErrAgain or io.EOF with 0.
func (s *Socket) Read(bufs [][]byte) (int, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(attemptTimeout)); err != nil {
		return 0, err
	}
	n, err := s.conn.Read(bufs[0])
	return outcome(n, err)
}

// Write writes from bufs as much as the kernel takes, or returns ErrAgain with 0. That more follows
// makes no difference here.
func (s *Socket) Write(bufs [][]byte, _ bool) (int, error) {
	if err := s.conn.SetWriteDeadline(time.Now().Add(attemptTimeout)); err != nil {
		return 0, err
	}
	n, err := s.conn.Write(bufs[0])
	return outcome(n, err)
}

func outcome(n int, err error) (int, error) {
	switch {
	case n > 0:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, ErrAgain
	case err == nil:
		return 0, io.ErrNoProgress
	}
	return 0, err
}

// AwaitRead and AwaitWrite have the stream tried every now and then.
func (s *Socket) AwaitRead(w *Sleeper) bool  { w.Poll(); return false }
func (s *Socket) AwaitWrite(w *Sleeper) bool { w.Poll(); return false }

// Flush has nothing to do: the kernel sends by itself.
func (s *Socket) Flush() error { return nil }

// Finish ends the sending direction; what was written is still delivered.
func (s *Socket) Finish() { _ = s.conn.CloseWrite() }

// Unacked is the number of bytes that the peer's kernel has not yet confirmed, or 0 where nobody
// knows.
func (s *Socket) Unacked() int { return 0 }

// Close frees the connection.
func (s *Socket) Close() { _ = s.conn.Close() }

// yield lets another goroutine of this process run. How long that takes says nothing of other
// programs.
func yield(int) (tells bool) {
	runtime.Gosched()
	return false
}

// SetUserTimeout does nothing here: heartbeats find the silent peer.
func SetUserTimeout(*net.TCPConn, time.Duration) error { return nil }
