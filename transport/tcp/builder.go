package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/internal/shortage"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

const (
	// helloPatience is how long a connection may take to open, or to say who it is.
	helloPatience = secure.HandshakeTimeout
	// redialFirst and redialMost bound the pause between attempts to reach a peer.
	redialFirst = 5 * time.Millisecond
	redialMost  = 250 * time.Millisecond
)

// opened is a lane whose hellos have been exchanged.
type opened struct {
	peer transport.Rank
	lane lane
	conn net.Conn
	err  error // a lane that this rank dialled and will not get
}

// builder is the building of all lanes: rank i dials every j below it and accepts from every j above.
type builder struct {
	t     *Transport
	guard *secure.Guard
	ctx   context.Context
	stop  context.CancelFunc
	end   func() // returns when nothing of the building is left
	lanes chan opened
	wg    sync.WaitGroup

	met     chan struct{}   // closed when the ranks have met; what follows is known then
	meeting context.Context // ends when another rank has failed
	hello   hello           // what this rank says, without lane and receiver
	addrs   []string        // of all ranks
	near    <-chan NearLane

	mu       sync.Mutex
	accepted map[[2]int]bool          // rank and lane
	nearby   map[transport.Rank]bool  // peers whose lanes Near is to open
	failed   map[transport.Rank]error // why the last attempt to reach a peer failed
}

// newBuilder begins to receive at listen, so that strangers are dropped while ranks still meet, and a rank that has met
// sooner than this one waits. end must follow; it closes the listener.
func (t *Transport) newBuilder(ctx context.Context, guard *secure.Guard, listen net.Listener) *builder {
	ctx, cancel := context.WithCancel(ctx)
	b := &builder{t: t, guard: guard, ctx: ctx, stop: cancel, lanes: make(chan opened), met: make(chan struct{}),
		accepted: make(map[[2]int]bool), nearby: make(map[transport.Rank]bool), failed: make(map[transport.Rank]error)}
	b.wg.Go(func() { secure.Serve(ctx, listen, b.admit, b.drop, b.short) })
	b.end = func() {
		cancel()
		_ = listen.Close()
		b.wg.Wait()
		if b.t.near != nil && b.near != nil {
			b.t.near.Wait()
		}
	}
	return b
}

// build opens both lanes to every peer, or fails: when meeting ends at the latest.
func (b *builder) build(meeting context.Context, published []string, mine hello) error {
	t := b.t
	defer context.AfterFunc(meeting, b.stop)()
	addrs, notices := splitNotices(published)
	b.hello, b.addrs, b.meeting = mine, addrs, meeting
	near := b.openNear(Meeting{Session: mine.session, Digest: mine.terms}, notices)
	for j := range addrs[:t.cfg.Rank] {
		if !b.nearby[transport.Rank(j)] {
			b.dialBoth(transport.Rank(j))
		}
	}
	close(b.met) // from here on accepted and nearby are shared
	return b.collect(2*(t.cfg.Size-1) - near)
}

// dialBoth opens the lanes to a rank below this one.
func (b *builder) dialBoth(j transport.Rank) {
	addr := rendezvous.Rezone(b.addrs[j], b.t.own)
	for _, l := range []lane{laneControl, laneData} {
		b.wg.Go(func() {
			if o := b.dial(j, addr, l); o != (opened{}) {
				b.deliver(o)
			}
		})
	}
}

// collect attaches lanes as they open until there are two for each peer: left of them, those of near peers counted as one.
func (b *builder) collect(left int) error {
	t := b.t
	for left > 0 {
		select {
		case n := <-b.near:
			more, err := b.attachNear(n)
			if err != nil {
				return err
			}
			left += more - 1
		case l := <-b.lanes:
			if l.err != nil {
				return l.err
			}
			left += b.fallBack(l.peer, nil) - 1
			if err := t.attach(l); err != nil {
				return err
			}
		case <-t.Broken():
			return t.Err("join")
		case <-b.ctx.Done():
			return b.incomplete()
		}
	}
	return nil
}

// attach gives the peer its lane.
func (t *Transport) attach(l opened) error {
	if l.lane == laneControl {
		if err := mesh.SetUserTimeout(tcpOf(l.conn), t.cfg.DeadAfter); err != nil {
			return &transport.Error{Rank: l.peer, Op: "join", Err: err}
		}
		t.OpenControl(l.peer, l.conn)
		return nil
	}
	data, err := newLane(l.conn)
	if err != nil {
		return &transport.Error{Rank: l.peer, Op: "join", Err: err}
	}
	_, sealed := data.(*tlsLane) // and every record with a sum that nobody else can make
	t.OpenData(l.peer, data, !t.cfg.NoPayloadSums && !sealed)
	return nil
}

// incomplete names the ranks that are missing when time is up, and why this rank could not reach them.
func (b *builder) incomplete() error {
	missing := b.t.Missing()
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

// blame adds to err why the first of the missing ranks that this rank has dialled could not be reached.
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

// deliver hands a lane to collect, or closes it if nobody collects any more.
func (b *builder) deliver(l opened) {
	select {
	case b.lanes <- l:
	case <-b.ctx.Done():
		if l.conn != nil {
			_ = l.conn.Close()
		}
	}
}

// dial opens one lane to rank j, trying again until the context ends, which gives no lane and no error, one side refuses
// the other, or this process has been short of something for a while.
func (b *builder) dial(j transport.Rank, addr string, l lane) opened {
	var wanting shortage.Watch
	for pause := redialFirst; ; pause = min(2*pause, redialMost) {
		conn, err := b.dialOnce(j, addr, l)
		if err == nil {
			return opened{peer: j, lane: l, conn: conn}
		}
		last := b.note(j, fmt.Errorf("dial %s: %w", addr, err))
		if errors.Is(err, secure.ErrUnauthenticated) || wanting.Lasts(err) {
			return opened{err: &transport.Error{Rank: b.culprit(j, err), Op: "join", Err: last}}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			timer.Stop()
			return opened{}
		}
	}
}

// culprit is this rank where it is short of something, and else the peer.
func (b *builder) culprit(j transport.Rank, err error) transport.Rank {
	if shortage.Is(err) {
		return b.t.cfg.Rank
	}
	return j
}

// note remembers why rank j could not be reached, unless that is because time is up, and returns what is remembered.
func (b *builder) note(j transport.Rank, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() == nil || b.failed[j] == nil {
		b.failed[j] = err
	}
	return b.failed[j]
}

// short ends the building when this process has been short of something for too long to accept connections.
func (b *builder) short(err error) {
	b.deliver(opened{err: b.t.joinError(fmt.Errorf("accept connections: %w", err))})
}

func (b *builder) dialOnce(j transport.Rank, addr string, l lane) (net.Conn, error) {
	limited, cancel := context.WithTimeout(b.ctx, helloPatience)
	defer cancel()
	raw, err := b.t.net.Dial(limited, addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(b.ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	inner, ok := raw.(*net.TCPConn)
	if !ok {
		_ = raw.Close()
		return nil, fmt.Errorf("Config.Net.Dial returned a %T, want *net.TCPConn", raw)
	}
	conn, err := b.guard.Open(&wire{TCPConn: inner}, j, b.hello.session)
	if err == nil {
		err = b.greet(conn, j, l)
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// greet says hello on a connection that this rank dialled, and checks the answer. It waits for that as long as
// there is time: strangers may stand in front, and a lane given up here would be taken for open there.
func (b *builder) greet(conn net.Conn, j transport.Rank, l lane) error {
	mine := b.hello
	mine.lane, mine.to = l, j
	if err := writeHello(conn, &mine); err != nil {
		return err
	}
	theirs, err := readHello(conn)
	if err != nil {
		return err
	}
	if err := mine.check(&theirs); err != nil {
		return err
	}
	if theirs.from != j || theirs.lane != l {
		return fmt.Errorf("rank %d, lane %d answered for rank %d, lane %d: %w", theirs.from, theirs.lane, j, l, transport.ErrProtocol)
	}
	return conn.SetDeadline(time.Time{})
}
