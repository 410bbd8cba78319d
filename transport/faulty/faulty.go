// Package faulty injects faults into any transport: late, reordered, corrupt and lost messages,
// operations that stall, ranks that crash. Rules choose the operations and a seed decides what is
// random, so that a run can be repeated. Injected faults are counted and listed.
//
// Each rank is wrapped separately, with the same rules or others. Without rules there is no effect.
// With only delays and reordering the whole contract of [transport.Transport] holds, since it
// promises no order between tags. The other faults are above the wrapped transport: its checksums
// do not detect a byte that is changed here, nor its sequence numbers a lost message. For faults of
// the wire there is a proxy in transport/internal/faultproxy.
package faulty

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/delayqueue"
)

const (
	// unclaimedBytes bounds the delayed messages that a receiver has not received.
	unclaimedBytes = 1 << 20
	// closeTimeout is how long Close waits for peers to receive them.
	closeTimeout = 2 * time.Second
)

// Transport is one rank's end with faults. See [transport.Transport] for its contract.
type Transport struct {
	below   transport.Transport
	cfg     Config
	queue   *delayqueue.Queue
	held    held
	turns   turns
	numbers numbers
	records records
	wire    atomic.Uint64

	closing chan struct{}
	close   sync.Once
	ended   error // of closing the transport below

	mu     sync.Mutex
	fault  *transport.Error
	broken chan struct{} // closed once fault is set
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Exchanger = (*Transport)(nil)
	_ transport.Describer = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
	_ transport.Allocator = (*Transport)(nil)
	_ transport.Watcher   = (*Transport)(nil)
	_ transport.Locator   = (*Transport)(nil)
	_ transport.Aborter   = (*Transport)(nil)
)

// New returns t with the faults of c. t belongs to the new transport then. It panics if c is
// invalid.
func New(t transport.Transport, c Config) *Transport {
	if err := c.Validate(); err != nil {
		panic(err.Error())
	}
	f := &Transport{below: t, cfg: c, closing: make(chan struct{}), broken: make(chan struct{}),
		records: records{rules: make([]int, len(c.Rules)), kinds: make(map[Kind]int)}}
	f.queue = delayqueue.New(func(ctx context.Context, to int, tag uint64, body []byte) error {
		return t.Send(ctx, transport.Rank(to), transport.Tag(tag), body)
	}, unclaimedBytes)
	return f
}

// Rank is this end's number.
func (t *Transport) Rank() transport.Rank { return t.below.Rank() }

// Size is the number of ranks.
func (t *Transport) Size() int { return t.below.Size() }

// Send sends the concatenation of bufs to rank to under tag. See [transport.Transport].
func (t *Transport) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	t.check("Send", to)
	return t.send(ctx, t.number(Send, to, tag, bufs), bufs)
}

// Recv receives the next message of rank from under tag into bufs, and returns its length in bytes.
// See [transport.Transport].
func (t *Transport) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	t.check("Recv", from)
	return t.recv(ctx, t.number(Recv, from, tag, bufs), bufs)
}

// Close sends the delayed messages, as far as the peers receive them, and closes the transport
// below. See [transport.Transport].
func (t *Transport) Close() error {
	t.close.Do(func() {
		close(t.closing)
		t.queue.Flush()
		t.queue.Close(closeTimeout)
		t.ended = t.below.Close()
	})
	return t.ended
}

// check panics if r is not a rank of the job.
func (t *Transport) check(call string, r transport.Rank) {
	if r < 0 || int(r) >= t.Size() {
		panic(fmt.Sprintf("faulty: %s: rank %d outside 0..%d", call, r, t.Size()-1))
	}
}
