package meshjoin

import (
	"errors"
	"fmt"
	"net"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// admit authenticates a pending connection, reads its hello, checks it and answers.
func (b *builder) admit(s *secure.Pending) (func(), error) {
	if err := s.Wait(b.met); err != nil {
		return nil, err
	}
	conn, peer, err := b.guard.Admit(&wire{TCPConn: s.Conn.(*net.TCPConn)}, b.hello.Session)
	if err != nil {
		return nil, err
	}
	theirs, err := readHello(conn)
	if err != nil {
		return nil, err
	}
	mine := b.hello
	if err := errors.Join(mine.check(&theirs), peer.Check(theirs.From)); err != nil {
		return nil, err
	}
	if theirs.From < mine.From || !b.claim(&theirs) {
		return nil, fmt.Errorf("rank %d has stream %d already: %w", theirs.From, theirs.kind, transport.ErrDuplicateRank)
	}
	mine.kind, mine.To = theirs.kind, theirs.From
	if err = s.Identified(); err == nil {
		err = writeHello(conn, &mine)
	}
	if err != nil {
		b.disclaim(&theirs)
		return nil, err
	}
	return func() { b.deliver(opened{peer: theirs.From, kind: theirs.kind, conn: conn}) }, nil
}

func (b *builder) drop(conn net.Conn, err error) {
	b.join.cfg.Log.Info("connection dropped", "rank", b.join.cfg.Rank, "from", conn.RemoteAddr(), "err", err)
}

// claim reserves the stream for this connection. A peer for which another way was planned comes
// here when it could not take that.
func (b *builder) claim(h *hello) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := [2]int{int(h.From), int(h.kind)}
	if b.accepted[key] {
		return false
	}
	b.accepted[key] = true
	return true
}

func (b *builder) disclaim(h *hello) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.accepted, [2]int{int(h.From), int(h.kind)})
}
