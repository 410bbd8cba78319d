package faultproxy

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Flow is one direction of a proxy, over all its connections. The verbs may be combined: what is
// read is first black-holed or not, then modified, delayed, and at last held by a pause.
type Flow struct {
	bytes atomic.Int64
	lost  atomic.Int64
	pause gate
	hole  gate

	mu     sync.Mutex
	least  time.Duration
	jitter time.Duration
	rand   *rand.Rand
	modify func([]byte) []byte
}

func newFlow(seed uint64) *Flow { return &Flow{rand: rand.New(rand.NewPCG(seed, 0))} }

// Pause holds everything back, ends of connections included. What is held is bounded: then the
// sender's buffers fill.
func (f *Flow) Pause() { f.pause.set(true) }

// Resume ends Pause. Nothing has been lost.
func (f *Flow) Resume() { f.pause.set(false) }

// Blackhole takes everything and forwards nothing, as a link does that has gone down behind a
// switch: the sender sees no error. Ends of connections are kept back.
func (f *Flow) Blackhole() { f.hole.set(true) }

// Unblackhole ends Blackhole. What was swallowed is lost.
func (f *Flow) Unblackhole() { f.hole.set(false) }

// Delay has what is read from now on arrive later, by d and a random part of up to jitter. Order
// within a connection is kept; much can be under way at once. Delay(0, 0) ends it.
func (f *Flow) Delay(d, jitter time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.least, f.jitter = d, jitter
}

// Modify passes what flows through m, in pieces as they happen to be read, one at a time. m may
// change its argument, and returns what is sent instead. nil ends it.
func (f *Flow) Modify(m func([]byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.modify = m
}

// Bytes is how many bytes have been forwarded, and Lost how many swallowed.
func (f *Flow) Bytes() int64 { return f.bytes.Load() }

// Lost is how many bytes have been swallowed by a black hole.
func (f *Flow) Lost() int64 { return f.lost.Load() }

// treat applies what is to be done to a piece just read, and says when it may go on.
func (f *Flow) treat(b []byte) ([]byte, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.modify != nil && len(b) > 0 {
		b = f.modify(b)
	}
	return b, time.Now().Add(f.late())
}

// late draws the delay of the next piece. The caller holds the lock.
func (f *Flow) late() time.Duration {
	if f.jitter <= 0 {
		return f.least
	}
	return f.least + time.Duration(f.rand.Int64N(int64(f.jitter)+1))
}

// gate is something that can be shut. The zero value is open.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when it opens; nil while it is open
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case shut && g.shut == nil:
		g.shut = make(chan struct{})
	case !shut && g.shut != nil:
		close(g.shut)
		g.shut = nil
	}
}

// state is nil while the gate is open, and else a channel that is closed when it opens.
func (g *gate) state() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// pass waits until the gate is open, and reports false if stop comes first.
func (g *gate) pass(stop <-chan struct{}) bool {
	for {
		shut := g.state()
		if shut == nil {
			return !closed(stop)
		}
		select {
		case <-shut:
		case <-stop:
			return false
		}
	}
}
