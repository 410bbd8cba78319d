//go:build linux && !purego

package shmstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/internal/shortage"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/identity"
)

const (
	// helloTimeout is how long a connection may take to say who it is.
	helloTimeout = 2 * time.Second
	// maxPending bounds the connections that have not yet said who they are.
	maxPending = 64
	// redialFirst and redialMost bound the pause between attempts to reach a peer.
	redialFirst = time.Millisecond
	redialMost  = 50 * time.Millisecond
)

// Terms are what two ranks must agree on before they share memory.
type Terms struct {
	Rank    transport.Rank
	Size    int
	Epoch   uint32
	Session [16]byte // drawn at the rendezvous
	Digest  [32]byte // of job and settings
	// RingBytes is the size of the ring in each direction: a power of two from 4 KiB to 1 GiB.
	RingBytes int
}

// Opened is a stream that has been opened, or why it could not be. The failure of a peer above this
// one is not delivered: it dials, and knows. An error about this rank itself says why it can accept
// no streams.
type Opened struct {
	Peer    transport.Rank
	Stream  *Stream
	Control *net.UnixConn
	Err     error
}

// Listener is where the ranks above this one come to: a socket in the abstract namespace, with a
// random name.
type Listener struct{ l *net.UnixListener }

// Listen opens a listener. Its address is the Addr of other ranks' [Builder.Open].
func Listen() (*Listener, error) {
	name := "@switchyard-" + rand.Text()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return &Listener{l}, nil
}

// Addr is the listener's name.
func (l *Listener) Addr() string { return l.l.Addr().String() }

// Close closes the listener.
func (l *Listener) Close() { _ = l.l.Close() }

// Builder opens streams: a rank dials every peer below it, and accepts from those above.
type Builder struct {
	Terms  Terms
	Arena  *Arena
	Listen *Listener
	Log    *slog.Logger
	// Opened receives every stream, from any goroutine; its reader must take them until ctx ends.
	Opened chan<- Opened

	ctx    context.Context
	wg     sync.WaitGroup
	mu     sync.Mutex
	peers  map[transport.Rank]bool  // above this rank, and still to come
	failed map[transport.Rank]error // the last failure to reach a rank below this one
}

// Open begins to open the streams to peers, given by the addresses of their listeners, until ctx
// ends. Wait returns when nothing of that is under way any more.
func (b *Builder) Open(ctx context.Context, peers map[transport.Rank]string) {
	b.ctx, b.peers = ctx, make(map[transport.Rank]bool)
	for r, addr := range peers {
		if r < b.Terms.Rank {
			b.wg.Go(func() { b.deliver(b.dial(r, addr)) })
		} else {
			b.peers[r] = true
		}
	}
	if len(b.peers) > 0 {
		b.wg.Go(b.accept)
	}
}

// note remembers why the last attempt to reach rank r failed.
func (b *Builder) note(r transport.Rank, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed == nil {
		b.failed = make(map[transport.Rank]error)
	}
	b.failed[r] = err
}

// Failed is why the last attempt to reach rank r failed, or nil if there has been none.
func (b *Builder) Failed(r transport.Rank) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed[r]
}

// Withdraw keeps the stream with peer r from being opened, if that has not happened yet.
func (b *Builder) Withdraw(r transport.Rank) { b.claim(r, false) }

// Wait returns when the context of Open has ended and nothing is under way.
func (b *Builder) Wait() {
	<-b.ctx.Done()
	b.Listen.Close()
	b.wg.Wait()
}

func (b *Builder) hello(to transport.Rank) hello {
	t := &b.Terms
	return hello{
		Block: identity.Block{
			Size: uint32(t.Size), From: t.Rank, To: to, Epoch: t.Epoch, Session: t.Session, Terms: t.Digest,
		},
		arenaBytes: uint64(b.Arena.Len()), ringBytes: uint32(t.RingBytes),
	}
}

// deliver hands over a stream, or closes it if the context has ended.
func (b *Builder) deliver(o Opened) {
	select {
	case b.Opened <- o:
	case <-b.ctx.Done():
		if o.Stream != nil {
			_ = o.Control.Close()
			o.Stream.Close()
		}
	}
}

// dial opens the stream to rank r, trying again until the context ends, or a failure is not one
// that passes.
func (b *Builder) dial(r transport.Rank, addr string) Opened {
	var last error
	begin := time.Now()
	for pause := redialFirst; ; pause = min(2*pause, redialMost) {
		o, err := b.dialOnce(r, addr)
		if err == nil {
			return o
		}
		if last == nil || b.ctx.Err() == nil {
			last = fmt.Errorf("dial %s: %w", addr, err)
			b.note(r, last)
		}
		if b.ctx.Err() == nil && (!isTransient(err) || isAbsent(err) && time.Since(begin) > shortage.Patience) {
			return Opened{Peer: r, Err: last}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			timer.Stop()
			return Opened{Peer: r, Err: last}
		}
	}
}

func (b *Builder) dialOnce(r transport.Rank, addr string) (Opened, error) {
	dialer := net.Dialer{Timeout: helloTimeout}
	c, err := dialer.DialContext(b.ctx, "unix", addr)
	if err != nil {
		return Opened{}, err
	}
	conn := c.(*net.UnixConn)
	stream, err := b.greet(conn, r)
	if err != nil {
		_ = conn.Close()
		return Opened{}, err
	}
	return Opened{Peer: r, Stream: stream, Control: conn}, nil
}

// greet says hello on a connection that this rank dialled, checks the answer, and offers the
// stream.
func (b *Builder) greet(c *net.UnixConn, r transport.Rank) (*Stream, error) {
	defer b.limit(c, 0)()
	if err := checkUser(c); err != nil {
		return nil, err
	}
	mine := b.hello(r)
	if err := writeHello(c, &mine); err != nil {
		return nil, err
	}
	theirs, err := readHello(c)
	if err != nil {
		return nil, err
	}
	if err := mine.check(&theirs); err != nil {
		return nil, err
	}
	if theirs.From != r {
		return nil, fmt.Errorf("rank %d answered for rank %d: %w", theirs.From, r, transport.ErrProtocol)
	}
	l, err := offer(c, b.Arena, &theirs)
	if err != nil {
		refuse(c, err, false)
		return nil, err
	}
	if err := sendReady(c); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// limit has c fail when the context ends, and after limit if that is not 0, until the function
// it returns is called.
func (b *Builder) limit(c *net.UnixConn, limit time.Duration) func() {
	if limit > 0 {
		_ = c.SetDeadline(time.Now().Add(limit))
	}
	stop := context.AfterFunc(b.ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			_ = c.SetDeadline(time.Time{})
		}
	}
}

// accept takes connections until the listener closes. Those beyond maxPending wait in the
// kernel's backlog.
func (b *Builder) accept() {
	pending := make(chan struct{}, maxPending)
	var wanting shortage.Watch
	for {
		select {
		case pending <- struct{}{}:
		case <-b.ctx.Done():
			return
		}
		c, err := b.Listen.l.AcceptUnix()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || b.ctx.Err() != nil {
				return
			}
			<-pending
			if wanting.Lasts(err) {
				b.deliver(Opened{Peer: b.Terms.Rank, Err: fmt.Errorf("accept connections: %w", err)})
				return
			}
			time.Sleep(redialFirst)
			continue
		}
		wanting.Lasts(nil)
		b.wg.Go(func() {
			o, err := b.admit(c)
			<-pending
			if err != nil {
				b.Log.Info("connection dropped", "rank", b.Terms.Rank, "err", err)
				_ = c.Close()
				return
			}
			b.deliver(o)
		})
	}
}

// admit reads the hello of a new connection, checks it, answers, and takes the stream.
func (b *Builder) admit(c *net.UnixConn) (Opened, error) {
	defer b.limit(c, helloTimeout)()
	theirs, err := b.meet(c)
	if err != nil {
		refuse(c, err, true)
		return Opened{}, err
	}
	mine := b.hello(theirs.From)
	if !b.claim(theirs.From, false) {
		return Opened{}, fmt.Errorf("rank %d has a stream already, or uses none: %w", theirs.From, transport.ErrDuplicateRank)
	}
	stream, err := b.answer(c, &mine, &theirs)
	if err != nil {
		b.claim(theirs.From, true)
		return Opened{}, err
	}
	return Opened{Peer: theirs.From, Stream: stream, Control: c}, nil
}

// meet reads and checks the hello of a new connection.
func (b *Builder) meet(c *net.UnixConn) (hello, error) {
	if err := checkUser(c); err != nil {
		return hello{}, err
	}
	theirs, err := readHello(c)
	if err != nil {
		return hello{}, err
	}
	mine := b.hello(theirs.From)
	return theirs, mine.check(&theirs)
}

// answer says hello, takes the stream, and waits until the peer has it too.
func (b *Builder) answer(c *net.UnixConn, mine, theirs *hello) (*Stream, error) {
	if err := writeHello(c, mine); err != nil {
		return nil, err
	}
	l, err := accept(c, b.Arena, theirs)
	if err != nil {
		refuse(c, err, false)
		return nil, err
	}
	_ = c.SetDeadline(time.Time{}) // it has proven who it is
	if b.ctx.Err() != nil {
		err = b.ctx.Err() // it may have ended just before
	} else {
		err = awaitReady(c)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// claim takes rank r off the list of those still to come, or puts it back, and reports whether that
// changed anything.
func (b *Builder) claim(r transport.Rank, back bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, known := b.peers[r]
	if !known || was == back {
		return false
	}
	b.peers[r] = back
	return true
}
