//go:build linux && !purego

package mesh

import (
	"errors"
	"io"
	"net"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is a data stream over TCP: a descriptor, non-blocking and out of the runtime's poller:
// arrivals there would wake a thread for every message although the reader is already awake.
type Socket struct {
	fd      int
	in, out vectors
	low     int // bytes that end a reader's sleep; 0 is 1
}

// localSendBuffer is what one direction of a stream between processes of this machine may hold in
// the kernel (which doubles it). Left to itself the kernel takes in whole messages, megabytes of
// them, and by the time the peer gets to run they have left the caches: 1 MiB to each of three
// peers took
// 6.8 ms that way and 2.8 with this bound, 16 MiB took 88 and 45, with four ranks on two cores. A
// bound of 32 KiB is less than a packet of the loopback interface and stalls.
const localSendBuffer = 128 << 10

// limitSendBuffer bounds the send buffer of a connection that does not leave this machine. Across a
// network the kernel sizes it by bandwidth and delay.
func limitSendBuffer(c *net.TCPConn) error {
	if to, ok := c.RemoteAddr().(*net.TCPAddr); !ok || !to.IP.IsLoopback() {
		return nil
	}
	return c.SetWriteBuffer(localSendBuffer)
}

// NewSocket takes the connection away from c, which is closed.
func NewSocket(c *net.TCPConn) (*Socket, error) {
	if err := limitSendBuffer(c); err != nil {
		return nil, err
	}
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
	return &Socket{fd: fd}, c.Close()
}

// Read reads into bufs, none of which is empty. It returns ErrAgain or io.EOF with 0.
func (s *Socket) Read(bufs [][]byte) (int, error) {
	n, err := s.in.call(unix.SYS_RECVMSG, s.fd, bufs, 0)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// Write writes from bufs as much as the kernel takes, or returns ErrAgain with 0. more says that a
// further call follows at once: the kernel then waits for it to fill a packet that these bytes
// leave partly empty.
func (s *Socket) Write(bufs [][]byte, more bool) (int, error) {
	flags := unix.MSG_NOSIGNAL
	if more {
		flags |= unix.MSG_MORE
	}
	return s.out.call(unix.SYS_SENDMSG, s.fd, bufs, flags)
}

// vectors is what one direction's system calls take their buffers from.
type vectors struct {
	message unix.Msghdr
	list    [maxVectors + 1]unix.Iovec
}

// call makes one vectored system call that does not wait, again where a signal interrupts it.
//
// The scheduler does not know of it: the call copies for some 100 µs at most, as a loop of ours
// would, and of a call that takes more than 20 µs the scheduler gives the processor to another
// thread, which finds nothing to do (in an all-to-all of 1 MiB among four ranks on two cores, 96
// switches of threads a round instead of 28).
func (v *vectors) call(trap uintptr, fd int, bufs [][]byte, flags int) (int, error) {
	for i, b := range bufs {
		v.list[i].Base = unsafe.SliceData(b)
		v.list[i].SetLen(len(b))
	}
	v.message.Iov = &v.list[0]
	v.message.SetIovlen(len(bufs))
	flags |= unix.MSG_DONTWAIT
	defer clear(v.list[:len(bufs)]) // no reference outlives the call
	for {
		n, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&v.message)), uintptr(flags))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, ErrAgain
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// AwaitRead has the descriptor polled, as AwaitBytes and AwaitWrite have it.
func (s *Socket) AwaitRead(w *Sleeper) bool { return s.AwaitBytes(w, 1) }

// worthWaking is how many bytes of more to come are worth ending a sleep for: behind a slow link
// they trickle in by a packet or two.
const worthWaking = 64 << 10

// AwaitBytes sets the low-water mark. The kernel wakes below it too where the connection's window,
// or its memory, runs out.
func (s *Socket) AwaitBytes(w *Sleeper, n int) bool {
	if low := min(n, worthWaking); low != max(s.low, 1) {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, low) == nil {
			s.low = low
		}
	}
	w.Watch(s.fd, unix.POLLIN|unix.POLLRDHUP)
	return false
}

func (s *Socket) AwaitWrite(w *Sleeper) bool {
	w.Watch(s.fd, unix.POLLOUT)
	return false
}

// Flush has nothing to do: the kernel sends by itself.
func (s *Socket) Flush() error { return nil }

// Finish ends the sending direction; what was written is still delivered.
func (s *Socket) Finish() { _ = unix.Shutdown(s.fd, unix.SHUT_WR) }

// Unacked is the number of bytes that the peer's kernel has not yet confirmed, or 0 where nobody
// knows.
func (s *Socket) Unacked() int {
	n, err := unix.IoctlGetInt(s.fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

// Close frees the descriptor.
func (s *Socket) Close() { _ = unix.Close(s.fd) }

// goschedEvery is how many yields of the processor come before one to other goroutines of this
// process. The latter makes the runtime wake a thread to look for work, which where there is none
// costs the peers their time.
const goschedEvery = 16

// yield lets another thread of this machine run; round counts the yields of one wait. It reports
// whether how long it took says anything of other programs: goroutines of this process may compute
// for as long as they want.
func yield(round int) (tells bool) {
	if round%goschedEvery == 0 {
		runtime.Gosched()
		return false
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	return true
}

// SetUserTimeout makes the kernel give up on data that stays unconfirmed for d.
func SetUserTimeout(c *net.TCPConn, d time.Duration) error {
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
