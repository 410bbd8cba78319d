package striped

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/reedsolomon"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// helloTag and frameTag are the tags of all messages on links, after that of the addresses with
// which an Opener begins.
const (
	helloTag transport.Tag = 1 + iota
	frameTag
	addressTag
)

// Transport is one rank's end of all its links. See [transport.Transport] for its contract.
type Transport struct {
	cfg     Config
	rank    transport.Rank
	size    int
	k       int // links that carry data
	links   []transport.Transport
	code    reedsolomon.Encoder // nil where nothing is coded
	pool    pool
	outward []*outbox // to other ranks

	outboxes  []*outbox
	inboxes   []*inbox
	wireBytes atomic.Uint64
	program   atomic.Pointer[transport.Program]

	life   sync.RWMutex // held for reading by every call under way
	fault  atomic.Pointer[fault]
	broken chan struct{} // closed with the first fault

	unnotified  atomic.Int64 // peers to which an end has still to be sent
	notified    chan struct{}
	notifyOnce  sync.Once
	notifyTimer *time.Timer // guarded by mu
	closed      atomic.Bool
	closing     chan struct{}
	closeOnce   sync.Once
	closeErr    error
	wg          sync.WaitGroup // senders and receivers of links

	mu     sync.Mutex
	dead   []error  // why each link is dead, or nil
	errors []uint64 // corrupt frames of each link
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Exchanger = (*Transport)(nil)
	_ transport.Describer = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
	_ transport.Watcher   = (*Transport)(nil)
)

// New combines links, which are this rank's ends of as many transports, in the same order on all
// ranks. It exchanges the configuration with the other ranks on every link and returns when all
// agree. Otherwise its error wraps [transport.ErrMismatch] and names what differs and both values,
// or is that of a link: every link must be alive. Errors of cfg.Validate are returned as they are.
//
// The links belong to the transport then: Close closes them, and so does New if it fails.
func New(ctx context.Context, links []transport.Transport, cfg Config) (*Transport, error) {
	t, err := newTransport(slices.Clone(links), cfg)
	if err == nil {
		err = t.meet(ctx)
	}
	if err != nil {
		_ = closeAll(links)
		return nil, err
	}
	for _, o := range t.outward {
		for link := range links {
			t.wg.Go(o.queues[link].run)
			t.wg.Go(func() { t.pump(link, o.peer) })
		}
	}
	return t, nil
}

func newTransport(links []transport.Transport, cfg Config) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	if err := cfg.validateLinks(links); err != nil {
		return nil, err
	}
	t := &Transport{
		cfg: cfg, rank: links[0].Rank(), size: links[0].Size(), k: len(links) - cfg.Parity, links: links,
		broken: make(chan struct{}), closing: make(chan struct{}), notified: make(chan struct{}),
		dead: make([]error, len(links)), errors: make([]uint64, len(links)),
	}
	if cfg.Parity > 0 && t.k > 1 {
		var err error
		// One goroutine: stripes are short, and other goroutines send meanwhile.
		if t.code, err = reedsolomon.New(t.k, cfg.Parity, reedsolomon.WithMaxGoroutines(1)); err != nil {
			return nil, errtext.Errorf("striped: code of %d+%d: %w", t.k, cfg.Parity, err)
		}
	}
	for r := range transport.Rank(t.size) {
		o := newOutbox(t, r)
		t.outboxes, t.inboxes = append(t.outboxes, o), append(t.inboxes, newInbox(t, r))
		if r != t.rank {
			t.outward = append(t.outward, o)
		}
	}
	t.unnotified.Store(int64(len(t.outward)))
	return t, nil
}

// Rank is this end's number.
func (t *Transport) Rank() transport.Rank { return t.rank }

// Size is the number of ranks.
func (t *Transport) Size() int { return t.size }

// WireBytes is the number of payload bytes sent to other ranks, without parity and copies, which
// the links count.
func (t *Transport) WireBytes() uint64 { return t.wireBytes.Load() }

// Capabilities are those that all links have. The name is "striped" with theirs: "striped(tcp)".
func (t *Transport) Capabilities() transport.Capabilities {
	all := transport.Capabilities{SurvivesPeerLoss: true, Encrypted: true}
	var names []string
	for _, l := range t.links {
		c := transport.CapabilitiesOf(l)
		all.SurvivesPeerLoss = all.SurvivesPeerLoss && c.SurvivesPeerLoss
		all.Encrypted = all.Encrypted && c.Encrypted
		all.Network = all.Network || c.Network
		if !slices.Contains(names, c.Name) {
			names = append(names, c.Name)
		}
	}
	all.Name = "striped(" + strings.Join(names, ",") + ")"
	return all
}

// Send sends the concatenation of bufs to rank to under tag. It returns when the message has been
// coded into the links' queues. See [transport.Transport].
func (t *Transport) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	t.check("Send", to)
	if err := t.begin(ctx, "send", to); err != nil {
		return err
	}
	defer t.life.RUnlock()
	var c clock
	defer c.stop()
	return t.sendOne(ctx, &c, to, tag, bufs).as("send")
}

func (t *Transport) sendOne(ctx context.Context, c *clock, to transport.Rank, tag transport.Tag, bufs [][]byte) *fault {
	if to != t.rank {
		return t.send(ctx, c, to, tag, bufs)
	}
	if err := t.inboxes[to].deliverSelf(tag, bufs); err != nil {
		return t.fail(to, err)
	}
	return nil
}

// Recv receives the next message of rank from under tag into bufs, and returns its length in bytes.
// See [transport.Transport].
func (t *Transport) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	t.check("Recv", from)
	if err := t.begin(ctx, "recv", from); err != nil {
		return 0, err
	}
	defer t.life.RUnlock()
	var c clock
	defer c.stop()
	r, f := t.inboxes[from].post(tag, bufs)
	n := 0
	if f == nil {
		n, f = t.receive(ctx, &c, r)
	}
	return n, f.as("recv")
}

// receive waits for r's message. Its buffers are the caller's again when it returns.
func (t *Transport) receive(ctx context.Context, c *clock, r *receive) (int, *fault) {
	why := t.wait(ctx, c, r.done)
	if why == nil {
		return r.finish(), nil
	}
	begun, whole := r.withdraw()
	if whole && t.unusable() == nil {
		return r.finish(), nil
	}
	return 0, t.interrupted(why, r.b.peer, begun)
}

// check panics if r is not a rank of the job.
func (t *Transport) check(call string, r transport.Rank) {
	if r < 0 || int(r) >= t.size {
		panic(fmt.Sprintf("striped: %s: rank %d outside 0..%d", call, r, t.size-1))
	}
}

// begin admits a call. Unless it fails, life must be unlocked for reading afterwards.
func (t *Transport) begin(ctx context.Context, op string, about transport.Rank) error {
	t.life.RLock()
	f := t.unusable()
	if f == nil && ctx.Err() != nil {
		f = &fault{about, gaveUp(ctx)}
	}
	if f != nil {
		t.life.RUnlock()
	}
	return f.as(op)
}
