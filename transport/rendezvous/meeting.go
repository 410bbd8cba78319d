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

// Meeting is a meeting whose ranks have learnt of each other and now open their connections. Rank 0
// stays in contact with every rank until all have done so: the death of one, or its failure, is
// told to all others at once.
type Meeting struct {
	Table
	ctx    context.Context
	cancel context.CancelCauseFunc
	told   atomic.Pointer[error]
	finish func(err error) error
}

// Context ends when a rank has failed, with that as its cause, and when the time for opening
// connections is up, which is before any rank gives up.
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
	m.told.CompareAndSwap(nil, &err)
	m.cancel(err)
}

// verdict is the failure of the job that ended m, or nil.
func (m *Meeting) verdict() error {
	if err := m.told.Load(); err != nil {
		return *err
	}
	return nil
}

// stay is a guest's side of a meeting.
type stay struct {
	v    *visitor
	m    *Meeting
	conn net.Conn
	over chan struct{} // closed when rank 0 has said how it ended, or is gone
	all  bool          // every rank has opened its connections
}

func newStay(v *visitor, conn net.Conn, t Table, left time.Duration) *Meeting {
	s := &stay{v: v, conn: conn, over: make(chan struct{})}
	_ = conn.SetReadDeadline(time.Time{})
	s.m = newMeeting(v.parent, t, left, s.finish)
	go s.listen()
	return s.m
}

// listen reads what rank 0 says until it has decided.
func (s *stay) listen() {
	defer close(s.over)
	for {
		p, err := readParcel(s.conn, maxBodyBytes)
		switch {
		case errors.Is(err, transport.ErrCorrupt):
			s.end(&transport.Error{Rank: 0, Op: opName, Err: err})
			return
		case err != nil:
			s.end(&transport.Error{Rank: 0, Op: opName, Err: fmt.Errorf("%w while ranks opened their connections: %w", transport.ErrPeerDead, err)})
			return
		case p.kind == kindRefusal:
			s.end(s.v.refused(p.body))
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

func (s *stay) end(err error) { s.m.fail(err) }

// finish tells rank 0 how it went here, and waits to hear how it went everywhere.
func (s *stay) finish(err error) error {
	defer func() {
		_ = s.conn.Close()
		<-s.over
	}()
	if told := s.m.verdict(); told != nil {
		return told
	}
	f := &refusal{code: refuseNothing, rank: s.v.cfg.Rank}
	switch {
	case errors.Is(s.v.parent.Err(), context.Canceled):
		s.v.report(s.conn, s.v.cancelled())
		return s.gaveUp(err)
	case err != nil:
		f = refusalOf(err)
	}
	s.v.report(s.conn, f)
	timer := time.NewTimer(time.Until(s.v.until.Add(verdictGrace)))
	defer timer.Stop()
	select {
	case <-s.over:
	case <-timer.C:
	case <-s.v.parent.Done():
	}
	switch told := s.m.verdict(); {
	case told != nil:
		return told
	case err != nil:
		return err
	case s.opened():
		return nil
	}
	return s.gaveUp(nil)
}

// opened reports whether rank 0 has said that every rank has opened its connections.
func (s *stay) opened() bool {
	select {
	case <-s.over:
		return s.all
	default:
		return false
	}
}

// gaveUp is the error of a rank whose caller has given up, or whose time was up before rank 0 said
// anything.
func (s *stay) gaveUp(err error) error {
	switch cause := s.v.parent.Err(); {
	case err != nil:
		return err
	case errors.Is(cause, context.Canceled):
		return &transport.Error{Rank: s.v.cfg.Rank, Op: opName, Err: cause}
	}
	return &transport.Error{Rank: 0, Op: opName, Err: s.v.cfg.dated(s.v.parent, s.v.begin,
		fmt.Errorf("rank 0 has not said within %v whether every rank has opened its connections: %w",
			time.Since(s.v.begin).Round(time.Millisecond), transport.ErrTimeout))}
}
