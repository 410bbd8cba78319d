package striped

import (
	"slices"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// stripeOverhead is what a stripe in a queue, or a message that nobody has asked for, counts beyond
// its bytes.
const stripeOverhead = 128

// lagGrace is how long a full queue may hold up those that have drained. It is for a goroutine that
// has not come to run, and is spent once each time that a lane begins to lag.
const lagGrace = 2 * time.Millisecond

// outbox holds what is on its way to one peer.
type outbox struct {
	t    *Transport
	peer transport.Rank
	// turn is held by the call whose message is being queued.
	turn chan struct{}
	// changed tells the holder of turn that a queue has become shorter, a lane has died or the peer
	// has left.
	changed chan struct{}

	mu     sync.Mutex
	next   uint64 // number of the next message
	queues []*queue
	ended  bool // nothing can be queued any more
	// suspecting: a lane that has fallen behind has been given time to catch up.
	suspecting bool
	untold     int // lanes that an end has still to be sent on until the peer counts as told
}

// queue is what waits for one lane. All but ready is guarded by the outbox's lock.
type queue struct {
	o     *outbox
	lane  int
	items []*buffer
	head  int
	bytes int // of items and of what is being sent
	dead  bool
	lags  bool    // it is passed over while it is full
	last  *buffer // the end, once there is one; nothing follows it
	ready chan struct{}
}

func newOutbox(t *Transport, peer transport.Rank) *outbox {
	o := &outbox{t: t, peer: peer, turn: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	for lane := range t.lanes {
		o.queues = append(o.queues, &queue{o: o, lane: lane, ready: make(chan struct{}, 1)})
	}
	return o
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// calm and room tell whether the queue is at most half full, and whether a frame of n bytes fits.
func (q *queue) calm() bool      { return !q.dead && q.bytes <= q.o.t.cfg.LaneBytes/2 }
func (q *queue) room(n int) bool { return !q.dead && q.bytes+n+stripeOverhead <= q.o.t.cfg.LaneBytes }

// choose appends to lanes those that frames of n bytes are sent on, if they can be sent now: that
// is when every lane but those that lag has room. mu is held.
func (o *outbox) choose(lanes []int, n int) (chosen []int, ok bool) {
	calm, full := 0, 0
	for _, q := range o.queues {
		switch {
		case q.room(n):
			lanes = append(lanes, q.lane)
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
		time.AfterFunc(lagGrace, func() { o.condemn(n) })
	}
	return lanes, full == 0 && len(lanes) >= k
}

// condemn ends the grace of lanes that are still full while k others have drained to half, and
// would soon have nothing to do. A lane lags until its queue is empty.
func (o *outbox) condemn(n int) {
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
			o.t.cfg.Log.Info("lane lags", "rank", o.t.rank, "lane", q.lane, "peer", o.peer)
		}
	}
	signal(o.changed)
}

// chooseFew keeps, of the lanes chosen, the m+1 with the least to do. mu is held.
func (o *outbox) chooseFew(lanes []int) []int {
	first := int(o.next % uint64(len(o.queues))) // so that lanes with equally much to do take turns
	turn := func(lane int) int { return (lane - first + len(o.queues)) % len(o.queues) }
	slices.SortFunc(lanes, func(a, b int) int {
		if d := o.queues[a].bytes - o.queues[b].bytes; d != 0 {
			return d
		}
		return turn(a) - turn(b)
	})
	return lanes[:min(o.t.cfg.Parity+1, len(lanes))]
}

// push queues a frame on a lane, or drops it where the lane has died meanwhile. mu is held.
func (o *outbox) push(lane int, b *buffer) {
	q := o.queues[lane]
	if q.dead || q.last != nil {
		o.t.pool.put(b)
		return
	}
	q.items = append(q.items, b)
	q.bytes += len(b.b) + stripeOverhead
	signal(q.ready)
}

// end queues the frame that ends every lane: behind what waits, or instead of it. Only the first
// call counts.
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
	o.untold = min(live, o.t.cfg.Parity+1)
	if o.untold == 0 {
		o.t.toldOne()
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

// drop forgets a dead lane.
func (o *outbox) drop(lane int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.queues[lane]
	if q.dead {
		return
	}
	q.dead = true
	q.discard()
	if q.last != nil {
		q.last = nil
		o.told()
	}
	signal(q.ready)
	signal(o.changed)
}

// told counts a lane on which the end has been sent, or cannot be. mu is held.
func (o *outbox) told() {
	if o.untold--; o.untold == 0 {
		o.t.toldOne()
	}
}

// frame makes a frame of h and payload.
func (t *Transport) frame(h header, payload []byte) *buffer {
	b := t.pool.get(headerBytes + len(payload))
	copy(b.b[headerBytes:], payload)
	h.seal(b)
	return b
}

// seal writes h over the head of a frame whose payload is in its place.
func (h *header) seal(b *buffer) {
	payload := b.b[headerBytes:]
	h.length, h.sum = uint32(len(payload)), sumOf(payload)
	h.put(b.b)
}
