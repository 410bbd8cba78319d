//go:build !linux || purego

package tcp

import (
	"sync"
	"sync/atomic"
	"time"
)

// sleeper lets one operation wait for other goroutines, and look at its sockets every now and then.
type sleeper struct {
	state   atomic.Int32
	once    sync.Once
	event   chan struct{}
	sockets bool
}

const (
	awake int32 = iota
	armed
	roused
)

// arm announces that the owner is about to sleep.
func (s *sleeper) arm() {
	s.once.Do(func() { s.event = make(chan struct{}, 1) })
	s.sockets = false
	s.state.Store(armed)
}

// disarm takes the announcement back.
func (s *sleeper) disarm() {
	if s.state.Swap(awake) == roused {
		select {
		case <-s.event:
		default:
		}
	}
}

// wake ends the owner's sleep, or the one it is about to begin. It may be called at any time by anybody.
func (s *sleeper) wake() {
	if s.state.CompareAndSwap(armed, roused) {
		select {
		case s.event <- struct{}{}:
		default:
		}
	}
}

// watchRead and watchWrite say that a socket may end the next sleep.
func (s *sleeper) watchRead(*socket)  { s.sockets = true }
func (s *sleeper) watchWrite(*socket) { s.sockets = true }

const (
	// lookEvery is how long a sleeper that waits for sockets sleeps before it tries them again.
	lookEvery = 200 * time.Microsecond
	// maxSleep bounds the sleep of one that waits for other goroutines only.
	maxSleep = time.Second
)

// sleep waits until it is time to try the sockets or wake is called, and disarms.
func (s *sleeper) sleep() {
	d := maxSleep
	if s.sockets {
		d = lookEvery
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.event:
	case <-timer.C:
	}
	s.disarm()
}

// release frees what the sleeper holds.
func (s *sleeper) release() {}
