package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

const (
	// helloPatience is how long a connection may take to open, or to say who it is.
	helloPatience = secure.Patience
	// redialFirst and redialMost bound the pause between attempts to reach a peer.
	redialFirst = 5 * time.Millisecond
	redialMost  = 250 * time.Millisecond
)

// opened is a lane whose hellos have been exchanged.
type opened struct {
	peer transport.Rank
	lane lane
	conn net.Conn
	err  error // a lane that this rank dialled and did not get
}

// builder is the building of all lanes: rank i dials every j below it and accepts from every j above.
type builder struct {
	t     *Transport
	guard *secure.Guard
	ctx   context.Context
	end   func() // returns when nothing of the building is left
	lanes chan opened
	wg    sync.WaitGroup

	met   chan struct{} // closed when the ranks have met; what follows is known then
	hello hello         // what this rank says, without lane and receiver
	near  <-chan NearLane

	mu       sync.Mutex
	accepted map[[2]int]bool // rank and lane
}

// newBuilder begins to receive at listen, so that strangers are dropped while ranks still meet, and a rank that has met
// sooner than this one waits. end must follow; it closes the listener.
func (t *Transport) newBuilder(ctx context.Context, guard *secure.Guard, listen net.Listener) *builder {
	ctx, cancel := context.WithCancel(ctx)
	b := &builder{t: t, guard: guard, ctx: ctx, lanes: make(chan opened),
		met: make(chan struct{}), accepted: make(map[[2]int]bool)}
	b.wg.Go(func() { secure.Receive(ctx, listen, b.admit, b.drop) })
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

// build opens both lanes to every peer, or fails.
func (b *builder) build(published []string, mine hello) error {
	t := b.t
	addrs, notices := splitNotices(published)
	b.hello = mine
	near := b.openNear(Meeting{Session: mine.session, Digest: mine.terms}, notices)
	for j, addr := range addrs[:t.cfg.Rank] {
		for _, l := range []lane{laneControl, laneData} {
			if b.accepted[[2]int{j, int(l)}] {
				continue // it is near
			}
			b.wg.Go(func() { b.deliver(b.dial(transport.Rank(j), addr, l)) })
		}
	}
	close(b.met) // from here on accepted is shared
	return b.collect(2*(t.cfg.Size-1) - near)
}

// collect attaches lanes as they open until there are two for each peer: left of them, those of near peers counted as one.
func (b *builder) collect(left int) error {
	t := b.t
	for ; left > 0; left-- {
		select {
		case n := <-b.near:
			if err := t.attachNear(n); err != nil {
				return err
			}
		case l := <-b.lanes:
			if l.err != nil {
				return l.err
			}
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

// incomplete names the ranks that are missing when time is up.
func (b *builder) incomplete() error {
	missing := b.t.Missing()
	names := make([]string, len(missing))
	for i, r := range missing {
		names[i] = fmt.Sprint(r)
	}
	err := b.ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", transport.ErrTimeout, err)
	}
	return &transport.Error{Rank: missing[0], Op: "join",
		Err: fmt.Errorf("no connection with rank %s: %w", strings.Join(names, ", "), err)}
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

// dial opens one lane to rank j, trying again until the context ends, or one side refuses the other.
func (b *builder) dial(j transport.Rank, addr string, l lane) opened {
	var last error
	for pause := redialFirst; ; pause = min(2*pause, redialMost) {
		conn, err := b.dialOnce(j, addr, l)
		if err == nil {
			return opened{peer: j, lane: l, conn: conn}
		}
		last = fmt.Errorf("dial %s: %w", addr, err)
		if errors.Is(err, secure.ErrUnauthenticated) {
			return opened{err: &transport.Error{Rank: j, Op: "join", Err: last}}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			timer.Stop()
			return opened{err: &transport.Error{Rank: j, Op: "join", Err: last}}
		}
	}
}

func (b *builder) dialOnce(j transport.Rank, addr string, l lane) (net.Conn, error) {
	dialer := net.Dialer{Timeout: helloPatience}
	raw, err := dialer.DialContext(b.ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(b.ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := b.guard.Open(&wire{TCPConn: raw.(*net.TCPConn)}, j, b.hello.session)
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
