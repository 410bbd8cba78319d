package mpi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/arena"
)

// Transport is one rank's end. It implements transport.Transport, Exchanger, Describer, Counter and
// Allocator. All methods may be called from any number of goroutines at once.
type Transport struct {
	cfg       Config
	port      port
	rank      transport.Rank
	tagSpan   uint64
	arena     *arena.Arena // of Alloc, or nil
	closeOnce sync.Once
	closeErr  error

	mu       sync.Mutex // guards all below, but is free while the driver is in a turn or in a pause
	peers    []*peer
	calls    callList // under way
	idle     []*call  // for reuse
	driver   *call    // whose goroutine alone uses the port
	fault    *fault
	program  transport.Program // for what errors state; or nil
	closed   bool
	wire     uint64
	work     queue
	requests []request
	unused   []int32 // free places in requests
	active   int     // requests under way
	slots    []int32 // free outgoing slots
	notices  int     // abort frames and farewells that MPI has not sent yet
	batch    *batch
	spare    []*message
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Exchanger = (*Transport)(nil)
	_ transport.Describer = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
	_ transport.Allocator = (*Transport)(nil)
	_ transport.Watcher   = (*Transport)(nil)
)

// newTransport returns the engine over an open port.
func newTransport(cfg Config, p port) *Transport {
	t := &Transport{
		cfg: cfg, port: p, rank: transport.Rank(p.rank()), tagSpan: uint64(p.tagLimit()),
		arena: newArena(cfg.ArenaBytes), batch: newBatch(),
	}
	for r := range p.size() {
		p := &peer{rank: transport.Rank(r), room: cfg.MaxUnexpectedBytes}
		p.SetLimit(cfg.MaxUnexpectedBytes)
		t.peers = append(t.peers, p)
	}
	for i := range int32(outSlots) {
		t.slots = append(t.slots, i)
	}
	return t
}

// Rank is this end's number.
func (t *Transport) Rank() transport.Rank { return t.rank }

// Size is the number of ranks.
func (t *Transport) Size() int { return len(t.peers) }

// Capabilities states that the loss of a rank ends the whole job, by mpirun.
func (t *Transport) Capabilities() transport.Capabilities {
	return transport.Capabilities{Name: "mpi", SurvivesPeerLoss: false, Network: true}
}

// Watch sets the program whose state an operation that takes too long adds to its error. Statements
// are not sent over MPI, so ranks that are out of step are found only by Config.OpTimeout.
func (t *Transport) Watch(p transport.Program) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.program = p
}

// Settle does nothing: peers cannot be asked.
func (t *Transport) Settle() error { return nil }

// WireBytes is the number of payload bytes sent to other ranks.
func (t *Transport) WireBytes() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wire
}

// Send sends the concatenation of bufs to rank to under tag. See [transport.Transport].
func (t *Transport) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	t.check("Send", to)
	t.mu.Lock()
	defer t.mu.Unlock()
	c, err := t.begin(ctx, "send", to)
	if err != nil {
		return err
	}
	c.one[0] = transport.Message{Peer: to, Tag: tag, Bufs: bufs}
	return t.end(c, c.perform(ctx, c.one[:], nil))
}

// Recv receives the next message of rank from under tag into bufs, and returns its length in bytes.
// See [transport.Transport].
func (t *Transport) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	t.check("Recv", from)
	t.mu.Lock()
	defer t.mu.Unlock()
	c, err := t.begin(ctx, "recv", from)
	if err != nil {
		return 0, err
	}
	c.one[0] = transport.Message{Peer: from, Tag: tag, Bufs: bufs}
	f := c.perform(ctx, nil, c.one[:])
	n := c.recvs[0].n
	if err := t.end(c, f); err != nil {
		return 0, err
	}
	return n, nil
}

// Exchange runs all sends and receives at once, on the caller's goroutine. See
// [transport.Exchange].
func (t *Transport) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	first := t.rank
	for _, list := range [2][]transport.Message{sends, recvs} {
		for i := range list {
			t.check("Exchange", list[i].Peer)
			first = list[0].Peer
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c, err := t.begin(ctx, "exchange", first)
	if err != nil {
		return err
	}
	f := c.perform(ctx, sends, recvs)
	for i := range c.recvs {
		recvs[i].N = c.recvs[i].n
	}
	return t.end(c, f)
}

// check panics if r is not a rank of the job.
func (t *Transport) check(call string, r transport.Rank) {
	if r < 0 || int(r) >= len(t.peers) {
		panic(fmt.Sprintf("mpi: %s: rank %d outside 0..%d", call, r, len(t.peers)-1))
	}
}

// begin admits a call, which end must follow. mu is held.
func (t *Transport) begin(ctx context.Context, name string, about transport.Rank) (*call, error) {
	f := t.unusable()
	if f != nil && t.notices > 0 {
		c := t.enter(name)
		t.until(c, failedGrace, func() bool { return t.notices == 0 })
		t.leave(c)
	}
	if f == nil && ctx.Err() != nil {
		f = &fault{about, contextError(ctx)}
	}
	if f != nil {
		return nil, f.as(name)
	}
	return t.enter(name), nil
}

// enter adds a call to those under way.
func (t *Transport) enter(name string) *call {
	var c *call
	if n := len(t.idle); n > 0 {
		c, t.idle = t.idle[n-1], t.idle[:n-1]
	} else {
		c = &call{t: t, wake: make(chan struct{}, 1)}
	}
	c.name = name
	t.calls.add(c)
	return c
}

// end removes the call and returns its error for the caller. mu is held.
func (t *Transport) end(c *call, f *fault) error {
	name := c.name
	t.leave(c)
	if f == nil {
		return nil
	}
	return f.as(name)
}

// leave removes c from the calls under way. If it was the driver, another call becomes that.
func (t *Transport) leave(c *call) {
	t.calls.remove(c)
	if t.driver == c {
		t.driver = nil
		t.calls.wakeOne()
	}
	if c.orphaned {
		return // MPI still has its memory, so nothing else may use it
	}
	c.forget()
	t.idle = append(t.idle, c)
}

// unusable returns why no call can succeed, or nil.
func (t *Transport) unusable() *fault {
	if t.closed {
		return &fault{t.rank, transport.ErrClosed}
	}
	return t.fault
}

// callList is the calls under way.
type callList struct{ list []*call }

func (l *callList) add(c *call) {
	c.index = len(l.list)
	l.list = append(l.list, c)
}

func (l *callList) remove(c *call) {
	last := len(l.list) - 1
	l.list[c.index] = l.list[last]
	l.list[c.index].index = c.index
	l.list[last] = nil
	l.list = l.list[:last]
}

// wakeOne wakes one of the waiting calls, which may become the driver.
func (l *callList) wakeOne() {
	if len(l.list) > 0 {
		l.list[0].wakeUp()
	}
}

func (l *callList) wakeAll() {
	for _, c := range l.list {
		c.wakeUp()
	}
}

// The pauses of a driver that waits: an eighth of the time waited so far, so that waiting costs at
// most an eighth more, within bounds. At the longest pause an idle rank takes about one percent of
// a processor.
const (
	pauseShare         = 8
	minPause, maxPause = 50 * time.Microsecond, 2 * time.Millisecond
)
