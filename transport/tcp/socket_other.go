//go:build !linux || purego

package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"time"
)

// socket is a data lane where the system offers nothing better than net: what would block is cut short by a
// deadline. It is right everywhere and tuned nowhere.
type socket struct {
	conn *net.TCPConn
}

// errAgain: nothing could be read or written without waiting.
var errAgain = errors.New("would block")

// patience is how long one attempt may wait for the socket.
const patience = 200 * time.Microsecond

// takeSocket takes the connection over from whoever held c.
func takeSocket(c *net.TCPConn) (*socket, error) { return &socket{conn: c}, nil }

// readv reads into the first of bufs. It returns errAgain or io.EOF with 0.
func (s *socket) readv(bufs [][]byte) (int, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	n, err := s.conn.Read(bufs[0])
	return outcome(n, err)
}

// writev writes from bufs as much as the kernel takes, or returns errAgain with 0. That more follows makes no
// difference here.
func (s *socket) writev(bufs [][]byte, _ bool) (int, error) {
	if err := s.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
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
		return 0, errAgain
	case err == nil:
		return 0, io.ErrNoProgress
	}
	return 0, err
}

// finish ends the sending direction; what was written is still delivered.
func (s *socket) finish() { _ = s.conn.CloseWrite() }

// unacked is the number of bytes that the peer's kernel has not yet confirmed, or 0 where nobody knows.
func (s *socket) unacked() int { return 0 }

func (s *socket) close() { _ = s.conn.Close() }

// yield lets another goroutine of this process run.
func yield(int) { runtime.Gosched() }

// setUserTimeout does nothing here: heartbeats find the silent peer.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
