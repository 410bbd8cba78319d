// Package collective has the operations that all ranks of a job take part in: barrier, broadcast, all-gather,
// reduce-scatter and all-reduce, over any [transport.Transport].
//
// Sums of float32 are taken over a binary tree in an order that no timing changes, so every rank has the same
// bits, on every run and every transport. [Comm.AllReduceTree] makes them independent of the number of ranks too.
package collective

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

// Lanes is the number of lanes that the Comms of one transport may use.
const Lanes = 128

// The tags of a Comm: the highest of the caller's bits, then 7 bits of lane, 32 bits of call number and 8 bits of
// step within the call. Whoever else uses the transport keeps to the tags below 1<<47, and never meets them.
const (
	tagBit    = transport.Tag(1) << (transport.TagBits - 1)
	laneShift = 40
	seqShift  = 8
)

// Comm is one rank's part in the collective operations of a job.
//
// All ranks make the same calls in the same order. Each call takes the next number, which goes into its tags, so a
// rank may be in one call while another is still in the one before. Calls of several goroutines follow each
// other one by one; who wants them to overlap, or cannot tell their order, gives each goroutine a Comm with a
// lane of its own ([NewLane]) or a view of its own ([transport.Sub]).
//
// Every error is a [*transport.Error] that names the operation, the number of the call, and the rank at fault
// where one is known. Ranks are those of the transport, except that a fault that the transport found beneath a view
// names a rank of the world. After an error the call's buffers have undefined content and are the caller's again. A Comm whose
// call has failed must not be used any more, as the ranks may disagree about what was done.
//
// A Comm keeps its working memory between calls, so that calls of the same sizes do not allocate.
type Comm struct {
	t    transport.Transport
	lane transport.Tag

	mu      sync.Mutex
	begin   func(op string) (end func(error) error) // of Watch, or nil
	seq     uint64
	x       exchange
	ones    []int
	nodes   []tree.Node
	places  []tree.Position
	first   []int // first[r] is the number of nodes that the ranks before r hold
	own     [][]float32
	one     [1][]float32
	staging []float32
	ints    []int64
	floats  []float64
}

// New returns this rank's part in lane 0 of t, which stays the caller's to close.
func New(t transport.Transport) *Comm { return NewLane(t, 0) }

// NewLane returns this rank's part in a lane of t, from 0 to Lanes-1. The traffic of different lanes never mixes. Two
// Comms on one rank must not share a lane of a transport at any time. It panics if there is no such lane.
func NewLane(t transport.Transport, lane int) *Comm {
	if lane < 0 || lane >= Lanes {
		panic(fmt.Sprintf("collective: lane %d outside 0..%d", lane, Lanes-1))
	}
	c := &Comm{t: t, lane: tagBit | transport.Tag(lane)<<laneShift, ones: make([]int, t.Size())}
	for r := range c.ones {
		c.ones[r] = 1
	}
	return c
}

// Watch has begin called with the name of every call of c when its turn comes, and what begin returns with the error that
// the call would end with, nil if all is well; the call ends with what that returns. It is for who tells what a rank is waiting
// in, and is called once, before any other method.
func (c *Comm) Watch(begin func(op string) (end func(error) error)) { c.begin = begin }

// Rank is this end's number.
func (c *Comm) Rank() transport.Rank { return c.t.Rank() }

// Size is the number of ranks.
func (c *Comm) Size() int { return c.t.Size() }

// call runs one collective operation: run gets the tag of its first step, and the next ones follow it.
func (c *Comm) call(op string, run func(tag transport.Tag) error) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begin != nil {
		end := c.begin(op)
		defer func() { err = end(err) }()
	}
	c.seq++
	defer c.x.reset()
	err = run(c.lane | transport.Tag(c.seq&(1<<32-1))<<seqShift)
	if err == nil {
		return nil
	}
	culprit := transport.None
	var e *transport.Error
	if errors.As(err, &e) {
		culprit, err = e.Rank, fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return &transport.Error{Rank: culprit, Op: op, Seq: c.seq, Err: err}
}

// step exchanges what has been put into c.x.
func (c *Comm) step(ctx context.Context) error {
	defer c.x.reset()
	return c.x.run(ctx, c.t)
}

// grow returns a slice of n elements, which is s where that has room.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
