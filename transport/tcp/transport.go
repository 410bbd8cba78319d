package tcp

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/switchyard-moe/switchyard/transport"
)

// Transport is one rank's end of the mesh. It implements transport.Transport, Exchanger, Describer and
// Counter. All methods may be called from any number of goroutines at once.
type Transport struct {
	cfg   Config
	peers []*peer
	self  *peer
	spins int // turns without progress before an operation sleeps

	wireBytes atomic.Uint64
	sleepers  sleepers
	ops       opPool

	life   sync.RWMutex // held for reading by every call under way
	closed atomic.Bool
	broken chan struct{} // closed with the first fault
	fault  atomic.Pointer[fault]

	closing   chan struct{} // closed by Close
	closeOnce sync.Once
	wg        sync.WaitGroup // the monitor and the control readers
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Exchanger = (*Transport)(nil)
	_ transport.Describer = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
)

// idleSpins is how often an operation yields the processor before it sleeps. A sleep and a wake-up cost about
// as much as ten yields; on a machine with fewer processors than ranks each yield lets a peer run.
const idleSpins = 64

func newTransport(cfg Config) *Transport {
	t := &Transport{
		cfg:     cfg,
		peers:   make([]*peer, cfg.Size),
		spins:   idleSpins,
		broken:  make(chan struct{}),
		closing: make(chan struct{}),
	}
	for r := range t.peers {
		t.peers[r] = newPeer(t, transport.Rank(r))
	}
	t.self = t.peers[cfg.Rank]
	return t
}

// Rank is this end's number.
func (t *Transport) Rank() transport.Rank { return t.cfg.Rank }

// Size is the number of ranks.
func (t *Transport) Size() int { return t.cfg.Size }

// Capabilities describes the transport.
func (t *Transport) Capabilities() transport.Capabilities {
	return transport.Capabilities{Name: "tcp", SurvivesPeerLoss: true, Network: true}
}

// WireBytes is the number of payload bytes sent to other ranks.
func (t *Transport) WireBytes() uint64 { return t.wireBytes.Load() }

// Send implements transport.Transport.
func (t *Transport) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	t.checkRank(to)
	op, err := t.begin(ctx, "send", to)
	if err != nil {
		return err
	}
	op.one[0] = transport.Message{Peer: to, Tag: tag, Bufs: bufs}
	return t.end(op, op.perform(ctx, op.one[:], nil))
}

// Recv implements transport.Transport.
func (t *Transport) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	t.checkRank(from)
	op, err := t.begin(ctx, "recv", from)
	if err != nil {
		return 0, err
	}
	op.one[0] = transport.Message{Peer: from, Tag: tag, Bufs: bufs}
	f := op.perform(ctx, nil, op.one[:])
	n := op.recvs[0].n
	if err = t.end(op, f); err != nil {
		return 0, err
	}
	return n, nil
}

// Exchange implements transport.Exchanger on the caller's goroutine alone.
func (t *Transport) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	first := t.cfg.Rank
	for i := range sends {
		t.checkRank(sends[i].Peer)
		first = sends[0].Peer
	}
	for i := range recvs {
		t.checkRank(recvs[i].Peer)
		first = recvs[0].Peer
	}
	op, err := t.begin(ctx, "exchange", first)
	if err != nil {
		return err
	}
	f := op.perform(ctx, sends, recvs)
	for i := range op.recvs {
		recvs[i].N = op.recvs[i].n
	}
	return t.end(op, f)
}

func (t *Transport) checkRank(r transport.Rank) {
	if r < 0 || int(r) >= t.cfg.Size {
		panic(fmt.Sprintf("tcp: rank %d is outside 0..%d", r, t.cfg.Size-1))
	}
}

// begin admits a call, which end must follow.
func (t *Transport) begin(ctx context.Context, name string, about transport.Rank) (*operation, error) {
	t.life.RLock()
	f := t.unusable()
	if f == nil && ctx.Err() != nil {
		f = &fault{about, gaveUp(ctx)}
	}
	if f != nil {
		t.life.RUnlock()
		return nil, f.as(name)
	}
	op := t.ops.get(t)
	op.name = name
	return op, nil
}

// unusable returns why no call can succeed, or nil.
func (t *Transport) unusable() *fault {
	if t.closed.Load() {
		return &fault{t.cfg.Rank, transport.ErrClosed}
	}
	return t.told()
}

// end gives the operation back and states its error as the caller's.
func (t *Transport) end(op *operation, f *fault) error {
	name := op.name
	op.leave(f != nil)
	defer t.life.RUnlock()
	if f == nil {
		t.ops.put(op)
		return nil
	}
	op.release() // and not reused: whoever completes one of its waiters just now may still count it
	return f.as(name)
}

// opPool keeps operations for reuse. It is not a sync.Pool because they hold descriptors.
type opPool struct {
	mu   sync.Mutex
	free []*operation
}

func (o *opPool) get(t *Transport) *operation {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.free); n > 0 {
		op := o.free[n-1]
		o.free = o.free[:n-1]
		return op
	}
	return &operation{
		t:       t,
		sources: make([]source, 0, t.cfg.Size),
		heads:   make([]int32, 0, t.cfg.Size),
		scratch: make([]int32, t.cfg.Size),
	}
}

func (o *opPool) put(op *operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.free = append(o.free, op)
}

func (o *opPool) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, op := range o.free {
		op.release()
	}
	o.free = nil
}

// takeRole waits for the reader role of p. It is for the moment after a fault, when holders give it up at once.
func (p *peer) takeRole() {
	for !p.tryRead() {
		p.rouse(true)
		runtime.Gosched()
	}
}
