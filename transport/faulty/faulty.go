// Package faulty disturbs any transport on purpose: messages that come late, in another order,
// damaged or not at all, operations that stall, ranks that crash. What goes wrong is said by rules
// over operations and, where it is left to chance, by a seed, so that a run can be repeated; what
// did go wrong can be counted and listed.
//
// Each rank is wrapped on its own, all of them with the same rules or not. Without rules nothing is
// changed. With delays and reordering alone the contract of [transport.Transport] is kept in full,
// since it promises no order between tags. The other faults lie above the transport below: its
// checksums do not see a byte that is changed here, nor its sequence numbers a message that is
// dropped. For faults on the wire itself, there is a proxy in transport/internal/faultproxy.
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
	// unclaimedBytes is how far a receiver may be behind with messages that have been kept back.
	unclaimedBytes = 1 << 20
	// closeTimeout is how long Close waits for peers to take them.
	closeTimeout = 2 * time.Second
)

// Transport is one rank's end with faults. See [transport.Transport] for its contract.
type Transport struct {
	below   transport.Transport
	cfg     Config
	mail    *delayqueue.Queue
	held    held
	turns   turns
	numbers numbers
	records records
	wire    atomic.Uint64

	closing chan struct{}
	close   sync.Once
	ended   error // of the close of what is below

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

// New disturbs t as c says. t is the new transport's from then on. It panics if c is invalid.
func New(t transport.Transport, c Config) *Transport {
	if err := c.Validate(); err != nil {
		panic(err.Error())
	}
	f := &Transport{below: t, cfg: c, closing: make(chan struct{}), broken: make(chan struct{}),
		records: records{rules: make([]int, len(c.Rules)), kinds: make(map[Kind]int)}}
	f.mail = delayqueue.New(func(ctx context.Context, to int, tag uint64, body []byte) error {
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

// Close delivers what has been kept back, as far as the peers take it, and closes the transport
// below. See [transport.Transport].
func (t *Transport) Close() error {
	t.close.Do(func() {
		close(t.closing)
		t.mail.Flush()
		t.mail.Close(closeTimeout)
		t.ended = t.below.Close()
	})
	return t.ended
}

// check panics if r is no rank of the job.
func (t *Transport) check(call string, r transport.Rank) {
	if r < 0 || int(r) >= t.Size() {
		panic(fmt.Sprintf("faulty: %s: rank %d outside 0..%d", call, r, t.Size()-1))
	}
}

func sizeOf(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return n
}
