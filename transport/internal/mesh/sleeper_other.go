//go:build !linux || purego

package mesh

import (
	"sync"
	"sync/atomic"
	"time"
)

// Sleeper lets one operation wait for other goroutines, and look at its sockets every now and then.
type Sleeper struct {
	state  atomic.Int32
	once   sync.Once
	event  chan struct{}
	polled bool
}

const (
	awake int32 = iota
	armed
	woken
)

// arm announces that the owner is about to sleep.
func (s *Sleeper) arm() {
	s.once.Do(func() { s.event = make(chan struct{}, 1) })
	s.polled = false
	s.state.Store(armed)
}

// disarm takes the announcement back.
func (s *Sleeper) disarm() {
	if s.state.Swap(awake) == woken {
		select {
		case <-s.event:
		default:
		}
	}
}

// Wake ends the owner's sleep, or the one it is about to begin. It may be called at any time by
// anybody.
func (s *Sleeper) Wake() {
	if s.state.CompareAndSwap(armed, woken) {
		select {
		case s.event <- struct{}{}:
		default:
		}
	}
}

// Poll says that something may end the next sleep which does not call Wake. For streams, within
// AwaitRead and AwaitWrite.
func (s *Sleeper) Poll() { s.polled = true }

const (
	// lookEvery is how long a sleeper that waits for sockets sleeps before it tries them again.
	lookEvery = 200 * time.Microsecond
	// maxSleep bounds the sleep of one that waits for other goroutines only.
	maxSleep = time.Second
)

// sleep waits until it is time to try the streams or Wake is called, and disarms. No stream here
// has a bell.
func (s *Sleeper) sleep() (rung bool) {
	d := maxSleep
	if s.polled {
		d = lookEvery
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.event:
	case <-timer.C:
	}
	s.disarm()
	return false
}

// release frees what the sleeper holds.
func (s *Sleeper) release() {}
