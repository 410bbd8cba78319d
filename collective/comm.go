package collective

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/freelist"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

// The tags of a Comm: the highest of the caller's bits, then 32 bits of call number and 8 bits of
// step within the call. Those of a pass ([Comm.Pass]) have the next bit too, and before the number
// of the call that of the pass. Other users of the transport keep to the tags below 1<<47.
const (
	tagBit    = transport.Tag(1) << (transport.TagBits - 1)
	passBit   = tagBit >> 1
	seqShift  = 8
	callBits  = 16 // of the number of a call in a pass, which begins again then
	passShift = seqShift + callBits
)

// Comm is one rank's part in the collective operations of a job, as MPI's communicator.
//
// All ranks make the same calls in the same order. Each call takes the next number, which goes into
// its tags, so a rank may be in one call while another is still in the one before. Calls of several
// goroutines follow each other; for calls that overlap, or whose order the ranks do not agree on,
// each goroutine needs a [Comm.Pass], or a Comm on a view of its own ([transport.Sub]).
//
// Every error is a [*transport.Error] that names the operation, the number of the call, and the
// rank at fault if one is known. Ranks are those of the transport, but a fault that the transport
// found beneath a view names a rank of the world. After an error the buffers of the call have
// undefined content and are the caller's again. A Comm whose call has failed must not be used any
// more, since the ranks may disagree about what was done; a call that was refused because of its
// arguments (without a number) does no harm if the rank then makes the right one.
//
// A Comm keeps its working memory between calls, so that calls of the same sizes do not allocate.
type Comm struct {
	t     transport.Transport
	begin func(op string) (end func(error) error) // of Watch, or nil
	ones  []int

	topology *topology // nil for direct sums

	whole *Comm               // what Pass was called on, nil if this is it
	pass  uint64              // number of the pass, if it is one
	ended freelist.List[Comm] // of passes, for their memory

	mu      sync.Mutex
	seq     uint64
	x       exchange
	nodes   []tree.Node
	covers  []tree.Position // of the nodes that the ranks hold, by rank
	first   []int           // first[r] is the number of nodes that the ranks before r hold
	own     [][]float32
	one     [1][]float32
	staging []float32
	crossed []float32 // nodes of the tree that have come from other nodes of the topology
	perNode []int     // leaves of each of those
	ints    []int64
	floats  []float64

	quantized quantized
}

// New returns this rank's part in the operations of t, which stays the caller's to close. There
// must be one Comm at a time on a transport.
func New(t transport.Transport) *Comm {
	c := &Comm{t: t, ones: make([]int, t.Size())}
	for r := range c.ones {
		c.ones[r] = 1
	}
	return c
}

// Watch has begin called with the name of each call of c when its turn comes, and what begin
// returns with the error that the call would end with, nil if none; the call ends with what that
// returns. So a program can say in which operation a rank waits. It is called once, before any
// other method.
func (c *Comm) Watch(begin func(op string) (end func(error) error)) { c.begin = begin }

// Rank is the number of this rank.
func (c *Comm) Rank() transport.Rank { return c.t.Rank() }

// Size is the number of ranks.
func (c *Comm) Size() int { return c.t.Size() }

// call runs one collective operation: run gets the tag of its first step, and the tags that follow
// are those of the next.
func (c *Comm) call(op string, run func(tag transport.Tag) error) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begin != nil {
		end := c.begin(op)
		defer func() { err = end(err) }()
	}
	c.seq++
	defer c.x.reset()
	err = run(c.tag())
	if err == nil {
		return nil
	}
	culprit := transport.None
	var e *transport.Error
	if errors.As(err, &e) {
		culprit, err = e.Rank, fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return &transport.Error{Rank: culprit, Op: c.named(op), Seq: c.seq, Err: err}
}

// tag is that of the first step of the current call.
func (c *Comm) tag() transport.Tag {
	if c.whole == nil {
		return tagBit | transport.Tag(c.seq&(1<<32-1))<<seqShift
	}
	call := transport.Tag(c.seq & (1<<callBits - 1))
	return tagBit | passBit | transport.Tag(c.pass)<<passShift&(passBit-1) | call<<seqShift
}

// misuse is an error of this rank's program in op.
func (c *Comm) misuse(op, format string, args ...any) error {
	return &transport.Error{Rank: transport.Joined(c.t, c.t.Rank()), Op: c.named(op), Err: fmt.Errorf(format, args...)}
}

// step exchanges what has been put into c.x.
func (c *Comm) step(ctx context.Context) error {
	defer c.x.reset()
	return c.x.run(ctx, c.t)
}

// grow returns a slice of n elements, in the memory of s if that has room.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
