//go:build linux && !purego

package tcp

import (
	"errors"
	"io"
	"net"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a data lane's descriptor, non-blocking and out of the runtime's poller: arrivals there would wake
// a thread for every message although the reader is already awake.
type socket struct {
	fd      int
	in, out vectors
}

// errAgain: nothing could be read or written without waiting.
var errAgain = errors.New("would block")

// takeSocket takes the connection away from c, which is closed.
func takeSocket(c *net.TCPConn) (*socket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, dupErr := -1, error(nil)
	err = raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, dupErr); err != nil {
		return nil, err
	}
	return &socket{fd: fd}, c.Close()
}

// readv reads into bufs, none of which is empty. It returns errAgain or io.EOF with 0.
func (s *socket) readv(bufs [][]byte) (int, error) {
	n, err := s.in.call(unix.SYS_READV, s.fd, bufs)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// writev writes from bufs as much as the kernel takes, or returns errAgain with 0.
func (s *socket) writev(bufs [][]byte) (int, error) {
	return s.out.call(unix.SYS_WRITEV, s.fd, bufs)
}

// rawBelow is the length from which a system call is announced to the scheduler. A non-blocking call that
// copies less is over sooner than the scheduler could make use of knowing, and when another process takes the
// processor in the middle of it, an announced one lets the runtime start a thread in vain.
const rawBelow = 32 << 10

// vectors is the array that one direction's system calls take their buffers from.
type vectors [maxVectors + 1]unix.Iovec

// call makes one vectored system call, again where a signal interrupts it.
func (v *vectors) call(trap uintptr, fd int, bufs [][]byte) (int, error) {
	bytes := 0
	for i, b := range bufs {
		v[i].Base = unsafe.SliceData(b)
		v[i].SetLen(len(b))
		bytes += len(b)
	}
	defer clear(v[:len(bufs)]) // no reference outlives the call
	for {
		var n uintptr
		var errno unix.Errno
		if bytes < rawBelow {
			n, _, errno = unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(v)), uintptr(len(bufs)))
		} else {
			n, _, errno = unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(v)), uintptr(len(bufs)))
		}
		switch errno {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, errAgain
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// finish ends the sending direction; what was written is still delivered.
func (s *socket) finish() { _ = unix.Shutdown(s.fd, unix.SHUT_WR) }

// unacked is the number of bytes that the peer's kernel has not yet confirmed, or 0 where nobody knows.
func (s *socket) unacked() int {
	n, err := unix.IoctlGetInt(s.fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

func (s *socket) close() { _ = unix.Close(s.fd) }

// goschedEvery is how many yields of the processor come before one to other goroutines of this process. The
// latter makes the runtime wake a thread to look for work, which where there is none costs the peers their time.
const goschedEvery = 16

// yield lets another thread of this machine run; round counts the yields of one wait.
func yield(round int) {
	if round%goschedEvery == 0 {
		runtime.Gosched()
		return
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
}

// setUserTimeout makes the kernel give up on data that stays unconfirmed for d.
func setUserTimeout(c *net.TCPConn, d time.Duration) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
	return errors.Join(err, setErr)
}
