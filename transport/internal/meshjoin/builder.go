package meshjoin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

const (
	// helloTimeout is how long a connection may take to open, or to say who it is.
	helloTimeout = secure.HandshakeTimeout
	// redialFirst and redialMost bound the pause between attempts to reach a peer.
	redialFirst = 5 * time.Millisecond
	redialMost  = 250 * time.Millisecond
)

// opened is a stream whose hellos have been exchanged.
type opened struct {
	peer transport.Rank
	kind streamKind
	conn net.Conn
	err  error // a stream that this rank dialled and will not get
}

// builder is the building of all streams: rank i dials every j below it and accepts from every j
// above.
type builder struct {
	join    *joiner
	guard   *secure.Guard
	ctx     context.Context
	stop    context.CancelFunc
	end     func() // returns when nothing of the building is left
	streams chan opened
	wg      sync.WaitGroup

	met     chan struct{}   // closed when the ranks have met; what follows is known then
	meeting context.Context // ends when another rank has failed
	hello   hello           // what this rank says, without kind and receiver
	addrs   []string        // of all ranks
	opened  <-chan Opened

	mu       sync.Mutex
	accepted map[[2]int]bool          // rank and kind
	fast     map[transport.Rank]bool  // peers whose streams FastPath is to open
	failed   map[transport.Rank]error // why the last attempt to reach a peer failed
}

// newBuilder begins to receive at listen, so that connections of other programs are dropped while
// ranks still meet, and a rank that has met sooner than this one waits. end must follow; it closes
// the listener.
func (j *joiner) newBuilder(ctx context.Context, guard *secure.Guard, listen net.Listener) *builder {
	ctx, cancel := context.WithCancel(ctx)
	b := &builder{join: j, guard: guard, ctx: ctx, stop: cancel, streams: make(chan opened), met: make(chan struct{}),
		accepted: make(map[[2]int]bool), fast: make(map[transport.Rank]bool), failed: make(map[transport.Rank]error)}
	b.wg.Go(func() { secure.Serve(ctx, listen, b.admit, b.drop, b.short) })
	b.end = func() {
		cancel()
		_ = listen.Close()
		b.wg.Wait()
		if b.join.fast != nil && b.opened != nil {
			b.join.fast.Wait()
		}
	}
	return b
}

// build opens both streams to every peer, or fails: when meeting ends at the latest.
func (b *builder) build(meeting context.Context, published []string, mine hello) error {
	defer context.AfterFunc(meeting, b.stop)()
	addrs, notices := splitNotices(published)
	b.hello, b.addrs, b.meeting = mine, addrs, meeting
	fast := b.openFast(Meeting{Session: mine.Session, Digest: mine.Terms}, notices)
	for j := range addrs[:b.join.cfg.Rank] {
		if !b.fast[transport.Rank(j)] {
			b.dialBoth(transport.Rank(j))
		}
	}
	close(b.met) // from here on accepted and fast are shared
	return b.collect(2*(b.join.cfg.Size-1) - fast)
}

// dialBoth opens the streams to a rank below this one.
func (b *builder) dialBoth(j transport.Rank) {
	addr := rendezvous.Rezone(b.addrs[j], b.join.own)
	for _, kind := range []streamKind{controlStream, dataStream} {
		b.wg.Go(func() {
			if o := b.dial(j, addr, kind); o != (opened{}) {
				b.deliver(o)
			}
		})
	}
}

// collect attaches streams as they open until there are two for each peer: left of them, those of
// peers of the fast path counted as one.
func (b *builder) collect(left int) error {
	for left > 0 {
		select {
		case f := <-b.opened:
			more, err := b.attachFast(f)
			if err != nil {
				return err
			}
			left += more - 1
		case o := <-b.streams:
			if o.err != nil {
				return o.err
			}
			left += b.fallBack(o.peer, nil) - 1
			if err := b.join.attach(o); err != nil {
				return err
			}
		case <-b.join.mesh.Broken():
			return b.join.mesh.Err("join")
		case <-b.ctx.Done():
			return b.incomplete()
		}
	}
	return nil
}

// attach gives the peer its stream.
func (j *joiner) attach(o opened) error {
	if o.kind == controlStream {
		if err := mesh.SetUserTimeout(tcpOf(o.conn), j.cfg.DeadAfter); err != nil {
			return &transport.Error{Rank: o.peer, Op: "join", Err: err}
		}
		j.mesh.OpenControl(o.peer, o.conn)
		return nil
	}
	data, err := newDataStream(o.conn)
	if err != nil {
		return &transport.Error{Rank: o.peer, Op: "join", Err: err}
	}
	_, sealed := data.(*tlsStream) // and every record with a sum that nobody else can make
	j.mesh.OpenData(o.peer, data, !j.cfg.NoPayloadSums && !sealed)
	return nil
}

// incomplete names the ranks that are missing when time is up, and why this rank could not reach
// them.
func (b *builder) incomplete() error {
	missing := b.join.mesh.Missing()
	names := make([]string, len(missing))
	for i, r := range missing {
		names[i] = fmt.Sprint(r)
	}
	err := context.Cause(b.meeting)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", transport.ErrTimeout, err)
	}
	blamed, err := b.blame(missing, err)
	return &transport.Error{Rank: blamed, Op: "join",
		Err: fmt.Errorf("no connection with rank %s: %w", strings.Join(names, ", "), err)}
}

// blame adds to err why the first of the missing ranks that this rank has dialled could not be
// reached.
func (b *builder) blame(missing []transport.Rank, err error) (transport.Rank, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range missing {
		if last := b.failed[r]; last != nil {
			return r, fmt.Errorf("rank %d: %w: %w", r, last, err)
		}
	}
	return missing[0], err
}

// deliver hands a stream to collect, or closes it if nobody collects any more.
func (b *builder) deliver(o opened) {
	select {
	case b.streams <- o:
	case <-b.ctx.Done():
		if o.conn != nil {
			_ = o.conn.Close()
		}
	}
}
