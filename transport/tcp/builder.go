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
)

const (
	// helloPatience is how long a connection may take to say who it is.
	helloPatience = 2 * time.Second
	// maxStrangers bounds the connections that have not yet said who they are.
	maxStrangers = 64
	// redialFirst and redialMost bound the pause between attempts to reach a peer.
	redialFirst = 5 * time.Millisecond
	redialMost  = 250 * time.Millisecond
)

// opened is a lane whose hellos have been exchanged.
type opened struct {
	peer transport.Rank
	lane lane
	conn *net.TCPConn
	err  error // a lane that this rank dialled and did not get
}

// builder is the building of all lanes: rank i dials every j below it and accepts from every j above.
type builder struct {
	t      *Transport
	hello  hello // what this rank says, without lane and receiver
	ctx    context.Context
	lanes  chan opened
	listen net.Listener
	wg     sync.WaitGroup

	mu       sync.Mutex
	accepted map[[2]int]bool // rank and lane
}

// buildMesh opens both lanes to every peer, or fails. The listener is closed when it returns.
func (t *Transport) buildMesh(ctx context.Context, listen net.Listener, addrs []string, mine hello) error {
	ctx, cancel := context.WithCancel(ctx)
	b := &builder{t: t, hello: mine, ctx: ctx, listen: listen,
		lanes: make(chan opened), accepted: make(map[[2]int]bool)}
	b.wg.Go(b.accept)
	for j, addr := range addrs[:t.cfg.Rank] {
		for _, l := range []lane{laneControl, laneData} {
			b.wg.Go(func() { b.deliver(b.dial(transport.Rank(j), addr, l)) })
		}
	}
	err := b.collect()
	cancel()
	_ = listen.Close()
	b.wg.Wait()
	return err
}

// collect attaches lanes as they open until there are two for each peer.
func (b *builder) collect() error {
	t := b.t
	for left := 2 * (t.cfg.Size - 1); left > 0; left-- {
		select {
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
		if err := mesh.SetUserTimeout(l.conn, t.cfg.DeadAfter); err != nil {
			return &transport.Error{Rank: l.peer, Op: "join", Err: err}
		}
		t.OpenControl(l.peer, l.conn)
		return nil
	}
	s, err := mesh.NewSocket(l.conn)
	if err != nil {
		return &transport.Error{Rank: l.peer, Op: "join", Err: err}
	}
	t.OpenData(l.peer, s, !t.cfg.NoPayloadSums)
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

// dial opens one lane to rank j, trying again until the context ends.
func (b *builder) dial(j transport.Rank, addr string, l lane) opened {
	var last error
	for pause := redialFirst; ; pause = min(2*pause, redialMost) {
		conn, err := b.dialOnce(j, addr, l)
		if err == nil {
			return opened{peer: j, lane: l, conn: conn}
		}
		last = err
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			timer.Stop()
			return opened{err: &transport.Error{Rank: j, Op: "join", Err: fmt.Errorf("dial %s: %w", addr, last)}}
		}
	}
}

func (b *builder) dialOnce(j transport.Rank, addr string, l lane) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: helloPatience}
	c, err := dialer.DialContext(b.ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.TCPConn)
	stop := context.AfterFunc(b.ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := b.greet(conn, j, l); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// greet says hello on a connection that this rank dialled, and checks the answer. It waits for that as long as
// there is time: strangers may stand in front, and a lane given up here would be taken for open there.
func (b *builder) greet(conn *net.TCPConn, j transport.Rank, l lane) error {
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

// accept takes connections until the listener closes. Each has helloPatience to say who it is; those beyond
// maxStrangers wait in the kernel's backlog.
func (b *builder) accept() {
	strangers := make(chan struct{}, maxStrangers)
	for {
		select {
		case strangers <- struct{}{}:
		case <-b.ctx.Done():
			return
		}
		c, err := b.listen.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || b.ctx.Err() != nil {
				return
			}
			<-strangers // the connection was gone before it was taken, or descriptors are short
			continue
		}
		b.wg.Go(func() {
			l, err := b.admit(c.(*net.TCPConn))
			<-strangers
			if err != nil {
				b.t.cfg.Log.Info("stranger dropped", "rank", b.t.cfg.Rank, "from", c.RemoteAddr(), "err", err)
				_ = c.Close()
				return
			}
			b.deliver(l)
		})
	}
}

// admit reads a stranger's hello, checks it and answers.
func (b *builder) admit(conn *net.TCPConn) (opened, error) {
	stop := context.AfterFunc(b.ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(helloPatience)); err != nil {
		return opened{}, err
	}
	theirs, err := readHello(conn)
	if err != nil {
		return opened{}, err
	}
	mine := b.hello
	if err := mine.check(&theirs); err != nil {
		return opened{}, err
	}
	if theirs.from < mine.from || !b.claim(&theirs) {
		return opened{}, fmt.Errorf("rank %d has lane %d already: %w", theirs.from, theirs.lane, transport.ErrDuplicateRank)
	}
	mine.lane, mine.to = theirs.lane, theirs.from
	if err := writeHello(conn, &mine); err != nil {
		b.disclaim(&theirs)
		return opened{}, err
	}
	return opened{peer: theirs.from, lane: theirs.lane, conn: conn}, conn.SetDeadline(time.Time{})
}

// claim reserves the lane for this connection.
func (b *builder) claim(h *hello) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := [2]int{int(h.from), int(h.lane)}
	if b.accepted[key] {
		return false
	}
	b.accepted[key] = true
	return true
}

func (b *builder) disclaim(h *hello) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.accepted, [2]int{int(h.from), int(h.lane)})
}
