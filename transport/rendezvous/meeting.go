package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// Meeting is a meeting whose ranks know each other's addresses and now open their connections. Rank
// 0 keeps its connection to every rank until all have done so. If one dies or fails, all others
// learn of it at once.
type Meeting struct {
	Table
	ctx     context.Context
	cancel  context.CancelCauseFunc
	failure atomic.Pointer[error]
	finish  func(err error) error
}

// Context ends when a rank has failed, with that as its cause, and when the time for opening
// connections is up, before any rank gives up.
func (m *Meeting) Context() context.Context { return m.ctx }

// Finish ends the meeting: err says why this rank could not open its connections, nil that it has.
// It must be called once. It returns nil when every rank has opened its connections, and otherwise
// one error for all: that of the rank that is dead, or else of the first that failed.
func (m *Meeting) Finish(err error) error {
	defer m.cancel(nil)
	return m.finish(err)
}

// alone is the meeting of a job of one rank.
func alone(ctx context.Context, t Table) *Meeting {
	m := &Meeting{Table: t, finish: func(err error) error { return err }}
	m.ctx, m.cancel = context.WithCancelCause(ctx)
	return m
}

// newMeeting returns a meeting whose context ends when left has passed.
func newMeeting(parent context.Context, t Table, left time.Duration, finish func(error) error) *Meeting {
	ctx, cancel := context.WithCancelCause(parent)
	limited, stop := context.WithTimeout(ctx, left)
	return &Meeting{Table: t, ctx: limited, finish: finish, cancel: func(cause error) {
		cancel(cause)
		stop()
	}}
}

// fail ends the context of m because the job has failed.
func (m *Meeting) fail(err error) {
	m.failure.CompareAndSwap(nil, &err)
	m.cancel(err)
}

// failed returns the failure of the job that ended m, or nil.
func (m *Meeting) failed() error {
	if err := m.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// memberMeeting is a member's side of a meeting.
type memberMeeting struct {
	c    *client
	m    *Meeting
	conn net.Conn
	over chan struct{} // closed when rank 0 has sent the outcome, or is gone
	all  bool          // every rank has opened its connections
}

func newMemberMeeting(c *client, conn net.Conn, t Table, left time.Duration) *Meeting {
	s := &memberMeeting{c: c, conn: conn, over: make(chan struct{})}
	_ = conn.SetReadDeadline(time.Time{})
	s.m = newMeeting(c.parent, t, left, s.finish)
	go s.listen()
	return s.m
}

// listen reads rank 0's messages until it has decided.
func (s *memberMeeting) listen() {
	defer close(s.over)
	for {
		p, err := readMessage(s.conn, maxBodyBytes)
		switch {
		case errors.Is(err, transport.ErrCorrupt):
			s.end(&transport.Error{Rank: 0, Op: opName, Err: err})
			return
		case err != nil:
			s.end(&transport.Error{Rank: 0, Op: opName, Err: fmt.Errorf("%w while ranks opened their connections: %w", transport.ErrPeerDead, err)})
			return
		case p.kind == kindRefusal:
			s.end(s.c.refused(p.body))
			return
		case p.kind == kindGo:
			s.all = true
			return
		case p.kind != kindMissing:
			s.end(&transport.Error{Rank: 0, Op: opName, Err: fmt.Errorf("kind %d while ranks opened their connections: %w", p.kind, transport.ErrProtocol)})
			return
		}
	}
}

func (s *memberMeeting) end(err error) { s.m.fail(err) }

// finish reports to rank 0 whether this rank has opened its connections, and waits for the outcome.
func (s *memberMeeting) finish(err error) error {
	defer func() {
		_ = s.conn.Close()
		<-s.over
	}()
	if failed := s.m.failed(); failed != nil {
		return failed
	}
	f := &refusal{code: refuseNothing, rank: s.c.cfg.Rank}
	switch {
	case errors.Is(s.c.parent.Err(), context.Canceled):
		s.c.report(s.conn, s.c.cancelled())
		return s.gaveUp(err)
	case err != nil:
		f = refusalOf(err)
	}
	s.c.report(s.conn, f)
	timer := time.NewTimer(time.Until(s.c.until.Add(decisionGrace)))
	defer timer.Stop()
	select {
	case <-s.over:
	case <-timer.C:
	case <-s.c.parent.Done():
	}
	switch failed := s.m.failed(); {
	case failed != nil:
		return failed
	case err != nil:
		return err
	case s.opened():
		return nil
	}
	return s.gaveUp(nil)
}

// opened reports whether rank 0 has said that every rank has opened its connections.
func (s *memberMeeting) opened() bool {
	select {
	case <-s.over:
		return s.all
	default:
		return false
	}
}

// gaveUp is the error of a rank whose caller has cancelled, or whose time was up before rank 0
// decided.
func (s *memberMeeting) gaveUp(err error) error {
	switch cause := s.c.parent.Err(); {
	case err != nil:
		return err
	case errors.Is(cause, context.Canceled):
		return &transport.Error{Rank: s.c.cfg.Rank, Op: opName, Err: cause}
	}
	return &transport.Error{Rank: 0, Op: opName, Err: s.c.cfg.dated(s.c.parent, s.c.begin,
		fmt.Errorf("rank 0 has not said within %v whether every rank has opened its connections: %w",
			time.Since(s.c.begin).Round(time.Millisecond), transport.ErrTimeout))}
}
