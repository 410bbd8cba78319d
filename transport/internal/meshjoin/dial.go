package meshjoin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/switchyard-moe/switchyard/internal/shortage"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// dial opens one stream to rank j, trying again until the context ends, which gives no stream and
// no error, one side refuses the other, or this process has lacked some resource for a while.
func (b *builder) dial(j transport.Rank, addr string, kind streamKind) opened {
	var wanting shortage.Watch
	for pause := redialFirst; ; pause = min(2*pause, redialMost) {
		conn, err := b.dialOnce(j, addr, kind)
		if err == nil {
			return opened{peer: j, kind: kind, conn: conn}
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

// culprit is this rank if it lacks some resource, and else the peer.
func (b *builder) culprit(j transport.Rank, err error) transport.Rank {
	if shortage.Is(err) {
		return b.join.cfg.Rank
	}
	return j
}

// note remembers why rank j could not be reached, unless that is because time is up, and returns
// what is remembered.
func (b *builder) note(j transport.Rank, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() == nil || b.failed[j] == nil {
		b.failed[j] = err
	}
	return b.failed[j]
}

// short ends the building when this process has been short of something for too long to accept
// connections.
func (b *builder) short(err error) {
	b.deliver(opened{err: b.join.joinError(fmt.Errorf("accept connections: %w", err))})
}

func (b *builder) dialOnce(j transport.Rank, addr string, kind streamKind) (net.Conn, error) {
	limited, cancel := context.WithTimeout(b.ctx, helloTimeout)
	defer cancel()
	raw, err := b.join.net.Dial(limited, addr)
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
	conn, err := b.guard.Open(&wire{TCPConn: inner}, j, b.hello.Session)
	if err == nil {
		err = b.greet(conn, j, kind)
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// greet says hello on a connection that this rank dialled, and checks the answer. It waits for that
// as long as there is time: other programs may be ahead of this rank, and a stream given up here
// would be taken for open there.
func (b *builder) greet(conn net.Conn, j transport.Rank, kind streamKind) error {
	mine := b.hello
	mine.kind, mine.To = kind, j
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
	if theirs.From != j || theirs.kind != kind {
		return fmt.Errorf("rank %d, stream %d answered for rank %d, stream %d: %w", theirs.From, theirs.kind, j, kind, transport.ErrProtocol)
	}
	return conn.SetDeadline(time.Time{})
}
