//go:build linux && !purego

package mesh

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Sleeper lets one operation wait for its sockets and for other goroutines at once. The order that
// loses no wake-up is: arm, look once more whether there is something to do, sleep.
type Sleeper struct {
	state atomic.Int32
	fds   []unix.PollFd
	bells []int   // the indices in fds of eventfds to be emptied
	word  [8]byte // what the owner reads of an eventfd

	mu    sync.Mutex // guards event, so that a late wake never writes to a descriptor that was closed
	event int        // an eventfd; 0 before the first sleep and after release
}

// one is what is written to an eventfd. It is kept, as the race detector moves buffers of system
// calls to the heap.
var one = []byte{0, 0, 0, 0, 0, 0, 0, 1}

const (
	awake int32 = iota
	armed
	woken
)

// arm announces that the owner is about to sleep.
func (s *Sleeper) arm() {
	s.fds, s.bells = s.fds[:0], s.bells[:0]
	s.mu.Lock()
	if s.event == 0 {
		if fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
			s.event = fd
		}
	}
	s.mu.Unlock()
	s.state.Store(armed)
}

// disarm takes the announcement back.
func (s *Sleeper) disarm() {
	if s.state.Swap(awake) == woken {
		s.drainEvent()
	}
}

// Wake ends the owner's sleep, or the one it is about to begin. It may be called at any time by
// anybody.
func (s *Sleeper) Wake() {
	if s.state.CompareAndSwap(armed, woken) {
		s.mu.Lock()
		if s.event > 0 {
			_, _ = unix.Write(s.event, one)
		}
		s.mu.Unlock()
	}
}

// Watch adds a descriptor to what ends the next sleep, once one of events is there. For streams,
// within AwaitRead and AwaitWrite.
func (s *Sleeper) Watch(fd int, events int16) {
	s.fds = append(s.fds, unix.PollFd{Fd: int32(fd), Events: events})
}

// WatchBell does the same for an eventfd, which is emptied when it has ended the sleep.
func (s *Sleeper) WatchBell(fd int) {
	s.bells = append(s.bells, len(s.fds))
	s.Watch(fd, unix.POLLIN)
}

// maxSleepMs bounds one sleep as a safeguard: a lost wake-up would cost this and not the operation.
const maxSleepMs = 1000

// sleep waits until a watched descriptor is ready or Wake is called, and disarms. It reports
// whether a bell has rung, which is emptied then although it may have been for others too.
func (s *Sleeper) sleep() (rung bool) {
	s.fds = append(s.fds, unix.PollFd{Fd: int32(s.event), Events: unix.POLLIN})
	if s.state.Load() == armed {
		_, _ = unix.Poll(s.fds, maxSleepMs)
		rung = s.drainBells()
	}
	s.disarm()
	return rung
}

// drainBells empties the eventfds that were signalled, and reports whether there were any.
func (s *Sleeper) drainBells() (rung bool) {
	for _, i := range s.bells {
		if s.fds[i].Revents != 0 {
			_, _ = unix.Read(int(s.fds[i].Fd), s.word[:])
			rung = true
		}
	}
	return rung
}

// drainEvent takes back what wake has written.
func (s *Sleeper) drainEvent() {
	_, _ = unix.Read(s.event, s.word[:])
}

// release frees the descriptor.
func (s *Sleeper) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.event > 0 {
		_ = unix.Close(s.event)
	}
	s.event = 0
}
