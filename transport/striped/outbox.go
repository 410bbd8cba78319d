package striped

import (
	"slices"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// stripeOverhead is what a stripe in a queue, or an unexpected message, counts beyond its bytes.
const stripeOverhead = 128

// lagGrace is how long a full queue may hold up those that have drained. It allows for a goroutine
// that has not been scheduled, and passes once each time that a link begins to lag.
const lagGrace = 2 * time.Millisecond

// outbox holds what is on its way to one peer.
type outbox struct {
	t    *Transport
	peer transport.Rank
	// turn is held by the call whose message is being queued.
	turn chan struct{}
	// changed signals the holder of turn that a queue has become shorter, a link has died or the
	// peer has left.
	changed chan struct{}

	mu     sync.Mutex
	next   uint64 // number of the next message
	queues []*queue
	ended  bool // nothing can be queued any more
	// suspecting: lagGrace of a link that has fallen behind is running.
	suspecting bool
	unnotified int // links that an end has still to be sent on until the peer counts as notified
}

// queue is what waits for one link. All but ready is guarded by the outbox's lock.
type queue struct {
	o     *outbox
	link  int
	items []*buffer
	head  int
	bytes int // of items and of what is being sent
	dead  bool
	lags  bool    // it is skipped while it is full
	last  *buffer // the end, once there is one; nothing follows it
	ready chan struct{}
}

func newOutbox(t *Transport, peer transport.Rank) *outbox {
	o := &outbox{t: t, peer: peer, turn: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	for link := range t.links {
		o.queues = append(o.queues, &queue{o: o, link: link, ready: make(chan struct{}, 1)})
	}
	return o
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// calm and room report whether the queue is at most half full, and whether a frame of n bytes fits.
func (q *queue) calm() bool      { return !q.dead && q.bytes <= q.o.t.cfg.LinkBytes/2 }
func (q *queue) room(n int) bool { return !q.dead && q.bytes+n+stripeOverhead <= q.o.t.cfg.LinkBytes }

// choose appends to links those that frames of n bytes are sent on. They can be sent now, ok, if
// every link that does not lag has room. mu is held.
func (o *outbox) choose(links []int, n int) (chosen []int, ok bool) {
	calm, full := 0, 0
	for _, q := range o.queues {
		switch {
		case q.room(n):
			links = append(links, q.link)
		case !q.dead && !q.lags:
			full++
		}
		if q.calm() {
			calm++
		}
	}
	k := o.t.k
	if full > 0 && calm >= k && !o.suspecting {
		o.suspecting = true
		time.AfterFunc(lagGrace, func() { o.markLagging(n) })
	}
	return links, full == 0 && len(links) >= k
}

// markLagging marks the links that are still full after lagGrace while k others have drained to
// half. A link lags until its queue is empty.
func (o *outbox) markLagging(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.suspecting = false
	calm := 0
	for _, q := range o.queues {
		if q.calm() {
			calm++
		}
	}
	for _, q := range o.queues {
		if calm >= o.t.k && !q.room(n) && !q.dead && !q.lags {
			q.lags = true
			o.t.cfg.Log.Info("link lags", "rank", o.t.rank, "link", q.link, "peer", o.peer)
		}
	}
	signal(o.changed)
}

// chooseFew keeps, of the links chosen, the m+1 with the fewest queued bytes. mu is held.
func (o *outbox) chooseFew(links []int) []int {
	first := int(o.next % uint64(len(o.queues))) // so that equally loaded links take turns
	turn := func(link int) int { return (link - first + len(o.queues)) % len(o.queues) }
	slices.SortFunc(links, func(a, b int) int {
		if d := o.queues[a].bytes - o.queues[b].bytes; d != 0 {
			return d
		}
		return turn(a) - turn(b)
	})
	return links[:min(o.t.cfg.Parity+1, len(links))]
}

// push queues a frame on a link, or drops it if the link has died meanwhile. mu is held.
func (o *outbox) push(link int, b *buffer) {
	q := o.queues[link]
	if q.dead || q.last != nil {
		o.t.pool.put(b)
		return
	}
	q.items = append(q.items, b)
	q.bytes += len(b.b) + stripeOverhead
	signal(q.ready)
}

// end queues the frame that ends every link, after the queued frames or instead of them. Only the
// first call has an effect.
func (o *outbox) end(h header, payload []byte, instead bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	o.ended = true
	h.kind, h.message = kindEnd, o.next
	live := 0
	for _, q := range o.queues {
		if q.dead {
			continue
		}
		live++
		if instead {
			q.discard()
		}
		q.last = o.t.frame(h, payload)
		signal(q.ready)
	}
	o.unnotified = min(live, o.t.cfg.Parity+1)
	if o.unnotified == 0 {
		o.t.oneNotified()
	}
	signal(o.changed)
}

// discard empties the queue. mu is held.
func (q *queue) discard() {
	for _, b := range q.items[q.head:] {
		q.bytes -= len(b.b) + stripeOverhead
		q.o.t.pool.put(b)
	}
	q.items, q.head = nil, 0
}

// drop discards the queue of a dead link.
func (o *outbox) drop(link int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.queues[link]
	if q.dead {
		return
	}
	q.dead = true
	q.discard()
	if q.last != nil {
		q.last = nil
		o.notified()
	}
	signal(q.ready)
	signal(o.changed)
}

// notified counts a link on which the end has been sent, or cannot be. mu is held.
func (o *outbox) notified() {
	if o.unnotified--; o.unnotified == 0 {
		o.t.oneNotified()
	}
}

// frame returns a frame of h and payload.
func (t *Transport) frame(h header, payload []byte) *buffer {
	b := t.pool.get(headerBytes + len(payload))
	copy(b.b[headerBytes:], payload)
	h.seal(b)
	return b
}

// seal writes h over the head of a frame that has its payload.
func (h *header) seal(b *buffer) {
	payload := b.b[headerBytes:]
	h.length, h.sum = uint32(len(payload)), sumOf(payload)
	h.put(b.b)
}
