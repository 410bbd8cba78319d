package mesh

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// Mesh is one rank's end of all its streams. It implements transport.Transport, Exchanger,
// Describer and Counter. All methods may be called from any number of goroutines at once.
type Mesh struct {
	cfg   Config
	peers []*peer
	self  *peer
	spins int // turns without progress before an operation sleeps

	spinning atomic.Int32 // operations that have the right to spin
	spin     spinPolicy   // whether one may

	wireBytes atomic.Uint64
	sleepers  sleepers
	watched   atomic.Pointer[watch]
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
	_ transport.Transport = (*Mesh)(nil)
	_ transport.Exchanger = (*Mesh)(nil)
	_ transport.Describer = (*Mesh)(nil)
	_ transport.Counter   = (*Mesh)(nil)
	_ transport.Watcher   = (*Mesh)(nil)
)

// idleSpins is how often an operation yields the processor before it sleeps. A sleep and a wake-up
// cost about as much as ten yields; on a machine with fewer processors than ranks each yield lets a
// peer run, and between ranks of one process it also lets their goroutines run, which a thread that
// sleeps in the kernel does not for up to milliseconds.
const idleSpins = 64

// maxSpinning is how many operations of a mesh may spin at a time: as many as a layer has in
// flight. A hundred that yielded in turn, on a busy machine, kept the goroutine that hears the
// signs of life from running for seconds.
const maxSpinning = 4

// New returns the end of rank cfg.Rank, without streams. cfg must be whole: nothing in it has a
// default here.
func New(cfg Config) *Mesh {
	t := &Mesh{
		spin:    spinPolicy{start: time.Now(), long: longYield},
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
func (t *Mesh) Rank() transport.Rank { return t.cfg.Rank }

// Size is the number of ranks.
func (t *Mesh) Size() int { return t.cfg.Size }

// Capabilities is what the configuration says of the transport.
func (t *Mesh) Capabilities() transport.Capabilities {
	return t.cfg.Capabilities
}

// WireBytes is the number of payload bytes sent to other ranks.
func (t *Mesh) WireBytes() uint64 { return t.wireBytes.Load() }

// Send implements transport.Transport.
func (t *Mesh) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	t.checkRank(to)
	op, err := t.begin(ctx, "send", to)
	if err != nil {
		return err
	}
	op.one[0] = transport.Message{Peer: to, Tag: tag, Bufs: bufs}
	if err := checkLengths("send", op.one[:]); err != nil {
		_ = t.end(op, nil)
		return err
	}
	return t.end(op, op.perform(ctx, op.one[:], nil))
}

// Recv implements transport.Transport.
func (t *Mesh) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	t.checkRank(from)
	op, err := t.begin(ctx, "recv", from)
	if err != nil {
		return 0, err
	}
	op.one[0] = transport.Message{Peer: from, Tag: tag, Bufs: bufs}
	if err := checkLengths("recv", op.one[:]); err != nil {
		_ = t.end(op, nil)
		return 0, err
	}
	f := op.perform(ctx, nil, op.one[:])
	n := 0
	if f == nil { // else another call may still use it
		n = op.recvs[0].n
	}
	return n, t.end(op, f)
}

// Exchange implements transport.Exchanger on the caller's goroutine alone.
func (t *Mesh) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	first := t.cfg.Rank
	for i := range sends {
		t.checkRank(sends[i].Peer)
		first = sends[0].Peer
	}
	for i := range recvs {
		t.checkRank(recvs[i].Peer)
		first = recvs[0].Peer
	}
	if err := checkLengths("exchange", sends, recvs); err != nil {
		return err
	}
	op, err := t.begin(ctx, "exchange", first)
	if err != nil {
		return err
	}
	f := op.perform(ctx, sends, recvs)
	if f == nil { // else another call may still use them
		for i := range op.recvs {
			recvs[i].N = op.recvs[i].n
		}
	}
	return t.end(op, f)
}

func (t *Mesh) checkRank(r transport.Rank) {
	if r < 0 || int(r) >= t.cfg.Size {
		panic(fmt.Sprintf("%s: rank %d is outside 0..%d", t.cfg.Capabilities.Name, r, t.cfg.Size-1))
	}
}

// begin admits a call, which end must follow.
func (t *Mesh) begin(ctx context.Context, name string, about transport.Rank) (*operation, error) {
	t.life.RLock()
	f := t.unusable()
	if f == nil && ctx.Err() != nil {
		f = &fault{about, contextError(ctx)}
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
func (t *Mesh) unusable() *fault {
	if t.closed.Load() {
		return &fault{t.cfg.Rank, transport.ErrClosed}
	}
	return t.brokenBy()
}

// end gives the operation back and states its error as the caller's.
func (t *Mesh) end(op *operation, f *fault) error {
	name := op.name
	op.leave(f != nil)
	defer t.life.RUnlock()
	if f == nil {
		t.ops.put(op)
		return nil
	}
	op.release() // and not reused: a call that completes one of its waiters now may still count it
	return f.as(name)
}

// opPool keeps operations for reuse. It is not a sync.Pool because they hold descriptors.
type opPool struct {
	mu   sync.Mutex
	free []*operation
}

func (o *opPool) get(t *Mesh) *operation {
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

// takeRole waits for the reader role of p. It is for the moment after a fault, when holders give it
// up at once.
func (p *peer) takeRole() {
	for !p.tryRead() {
		p.wake(true)
		runtime.Gosched()
	}
}
