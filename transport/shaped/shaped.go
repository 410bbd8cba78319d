// Package shaped makes any transport behave as if its rank were behind a slower network: a network
// card of limited bandwidth for all its peers, and a wire with a delay.
//
// The card sends messages in the order in which it accepts them, at its rate. The end of that is a
// message's departure. Its arrival is its departure plus the latency and its own jitter; then it is
// sent on the transport below, in order within one (receiver, tag). So any number of messages
// overlap, as they do on a network. Send returns at the departure; a copy of the message is kept
// until its arrival. In a testing/synctest bubble, over a transport that works there, all times are
// exact.
//
// Each rank is wrapped separately. The time of the transport below is added.
package shaped

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/delayqueue"
)

// Transport is one rank's end behind the link. See [transport.Transport] for its contract.
type Transport struct {
	below  transport.Transport
	cfg    Config
	behind []bool // the peers that are reached through the link
	queue  *delayqueue.Queue
	wire   atomic.Uint64
	closed atomic.Bool
	close  sync.Once
	ended  error // of closing the transport below

	mu   sync.Mutex // the order of reservations is that of posting
	link link
	sent map[delayqueue.Key]uint64 // messages so far, if there is jitter
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

// New returns t behind the link that c describes. t belongs to the new transport then. It panics if
// c is invalid.
func New(t transport.Transport, c Config) *Transport {
	if err := c.Validate(); err != nil {
		panic(err.Error())
	}
	c = c.withDefaults()
	s := &Transport{below: t, cfg: c, link: newLink(c.Bandwidth, c.Burst),
		behind: make([]bool, t.Size()), sent: make(map[delayqueue.Key]uint64)}
	for r := range s.behind {
		peer := transport.Rank(r)
		s.behind[r] = peer != t.Rank() && c.shapes() && (c.Link == nil || c.Link(peer))
	}
	s.queue = delayqueue.New(func(ctx context.Context, to int, tag uint64, body []byte) error {
		return t.Send(ctx, transport.Rank(to), transport.Tag(tag), body)
	}, c.UnclaimedBytes)
	return s
}

// Rank is this end's number.
func (t *Transport) Rank() transport.Rank { return t.below.Rank() }

// Size is the number of ranks.
func (t *Transport) Size() int { return t.below.Size() }

// Send sends the concatenation of bufs to rank to under tag, and returns when it has left. See
// [transport.Transport]. If ctx ends before, the message is withdrawn, but its time on the link
// stays reserved.
func (t *Transport) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	t.check("Send", to)
	if err := t.refused("send"); err != nil {
		return err
	}
	if !t.behind[to] {
		err := t.below.Send(ctx, to, tag, bufs...)
		if err == nil {
			t.count(to, rows.SizeOf(bufs))
		}
		return t.learn(ctx, err, "send")
	}
	s, err := t.post(ctx, transport.Message{Peer: to, Tag: tag, Bufs: bufs}, "send")
	if err != nil {
		return err
	}
	return t.await(ctx, s, "send")
}

// Recv receives the next message of rank from under tag into bufs, and returns its length in bytes.
// See [transport.Transport].
func (t *Transport) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	t.check("Recv", from)
	if err := t.refused("recv"); err != nil {
		return 0, err
	}
	n, err := t.below.Recv(ctx, from, tag, bufs...)
	return n, t.learn(ctx, err, "recv")
}

// Close delivers the sent messages, as far as the peers receive them, and closes the transport
// below. It waits for the arrival of the last message. See [transport.Transport].
func (t *Transport) Close() error {
	t.close.Do(func() {
		t.closed.Store(true)
		t.queue.Close(t.cfg.CloseTimeout)
		t.ended = t.below.Close()
	})
	return t.ended
}

// check panics if r is not a rank of the job.
func (t *Transport) check(call string, r transport.Rank) {
	if r < 0 || int(r) >= len(t.behind) {
		panic(fmt.Sprintf("shaped: %s: rank %d outside 0..%d", call, r, len(t.behind)-1))
	}
}

func (t *Transport) count(to transport.Rank, n int) {
	if to != t.below.Rank() {
		t.wire.Add(uint64(n))
	}
}

// arrival is when a message that departs then can be received. The caller holds the lock.
func (t *Transport) arrival(departs time.Time, k delayqueue.Key) time.Time {
	at := departs.Add(t.cfg.Latency)
	if t.cfg.Jitter == 0 {
		return at
	}
	t.sent[k]++
	h := mix(mix(mix(t.cfg.Seed^uint64(t.below.Rank()))^uint64(k.To))^k.Tag) ^ t.sent[k]
	return at.Add(time.Duration(mix(h) % uint64(t.cfg.Jitter+1)))
}

// mix is the finishing step of SplitMix64: every bit of x changes half the bits of the result.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
