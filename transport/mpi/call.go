package mpi

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// call is one Send, Recv or Exchange under way, or the Close. It runs on the caller's goroutine.
// Finished calls are reused.
type call struct {
	t     *Transport
	name  string
	index int // in callList
	wake  chan struct{}
	timer *time.Timer

	recvs  []receive
	sends  []send
	pins   []runtime.Pinner // of recvs, then of sends
	left   int              // messages that are not done
	staged int              // messages that are done once their frames are out
	moved  bool             // a message is done, or MPI has begun with one
	idle   int              // turns as the driver in which nothing happened
	since  time.Time        // when it first had to wait
	grace  time.Time        // once it has failed: until when it waits for its buffers

	condition func() bool // of Close: what it waits for instead
	orphaned  bool        // it has ended while MPI still had its buffers
	one       [1]transport.Message
}

// send is one message that a call sends.
type send struct {
	call  *call
	peer  *peer
	tag   transport.Tag
	bufs  [][]byte
	bytes int
	id    uint64 // of the first transfer of a message that is announced, else 0
	state sendState
	pin   *runtime.Pinner

	transfers int  // that MPI has not ended
	failed    bool // one of them has
}

type sendState uint8

const (
	sendQueued sendState = iota // nothing has left this rank
	sendMoving                  // MPI has it, and it cannot be cancelled
	sendDone
)

// large reports whether MPI reads s from its own buffers.
func (s *send) large() bool { return s.id != 0 }

// perform runs the call with sends and recvs. mu is held at the begin and the end.
func (c *call) perform(ctx context.Context, sends, recvs []transport.Message) *fault {
	c.prepare(sends, recvs)
	t := c.t
	f := c.start()
	if f != nil {
		t.fail(f.rank, f.err)
	}
	return t.wait(ctx, c)
}

// prepare sets up the messages of the call.
func (c *call) prepare(sends, recvs []transport.Message) {
	if cap(c.recvs) < len(recvs) {
		c.recvs = make([]receive, len(recvs))
	}
	if cap(c.sends) < len(sends) {
		c.sends = make([]send, len(sends))
	}
	if n := len(sends) + len(recvs); len(c.pins) < n {
		c.pins = make([]runtime.Pinner, n)
	}
	c.recvs, c.sends = c.recvs[:len(recvs)], c.sends[:len(sends)]
	for i := range recvs {
		m := &recvs[i]
		c.recvs[i] = receive{
			call: c, peer: c.t.peers[m.Peer], tag: m.Tag, bufs: m.Bufs, room: rows.SizeOf(m.Bufs), pin: &c.pins[i],
		}
	}
	for i := range sends {
		m := &sends[i]
		c.sends[i] = send{
			call: c, peer: c.t.peers[m.Peer], tag: m.Tag, bufs: m.Bufs, bytes: rows.SizeOf(m.Bufs), pin: &c.pins[len(recvs)+i],
		}
	}
	c.left = len(recvs) + len(sends)
	c.begin()
}

func (c *call) begin() {
	c.staged, c.moved, c.orphaned, c.idle, c.since, c.grace = 0, false, false, 0, time.Time{}, time.Time{}
}

// start posts the receives and submits the sends.
func (c *call) start() *fault {
	for i := range c.recvs {
		if f := c.t.post(&c.recvs[i]); f != nil {
			return f
		}
	}
	for i := range c.sends {
		if f := c.t.submit(&c.sends[i]); f != nil {
			return f
		}
	}
	return nil
}

// received completes r, which has its message.
func (r *receive) received() {
	r.state = recvDone
	r.call.oneDone()
}

func (c *call) oneDone() {
	c.moved = true
	if c.left--; c.left == 0 && c.t.driver != c {
		c.wakeUp()
	}
}

// wakeUp ends the pause of the call, or the next one.
func (c *call) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// forget drops all references to the caller's memory.
func (c *call) forget() {
	clear(c.recvs)
	clear(c.sends)
	c.one[0] = transport.Message{}
	c.condition = nil
	select {
	case <-c.wake:
	default:
	}
}

// contextError is the error of a call whose context has ended.
func contextError(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}
