package rendezvous

import (
	"cmp"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// superviseOpening decides while ranks open their connections.
func (s *server) superviseOpening() {
	deadline := time.NewTimer(time.Until(s.until))
	defer deadline.Stop()
	for s.rejection == nil && !s.decided() {
		select {
		case e := <-s.events:
			s.handleOpening(e)
		case s.opening = <-s.own:
			if urgent(s.opening) {
				s.rejectJob(s.opening)
			}
		case <-deadline.C:
			s.rejectJob(s.unopened())
		case <-s.parent.Done():
			s.rejectJob(s.cancelled())
		}
	}
	s.close()
}

// close sends the outcome to all members: success, unless there is a rejection.
func (s *server) close() {
	if s.rejection == nil && !s.allOpen() {
		s.rejectJob(s.unopened())
	}
	if s.rejection == nil {
		for _, g := range s.members {
			_ = g.conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
			_ = writeMessage(g.conn, kindGo, s.cfg.Job, nil) // the transport finds a dead member
		}
	} else {
		s.outcome = s.failure()
		s.meeting.fail(s.outcome)
		s.rejectLate()
	}
	s.end()
	close(s.finished)
}

// finish is rank 0's Finish.
func (s *server) finish(err error) error {
	mine := &refusal{code: refuseNothing}
	if err != nil && s.meeting.failed() == nil {
		mine = refusalOf(err)
	}
	s.own <- mine
	<-s.finished
	return s.outcome
}

// handleOpening decides about one event while connections are opened.
func (s *server) handleOpening(e event) {
	switch {
	case e.report != nil && s.members[e.rank] == e.left:
		e.left.report = e.report
		if urgent(e.report) {
			s.rejectJob(e.report)
		}
	case e.report == nil && e.left != nil && s.members[e.rank] == e.left:
		s.rejectJob(dead(e, "opened their connections"))
		s.handle(e)
	case e.conn != nil: // it came after the last member had
		s.refuse(e.conn, &refusal{refuseDuplicate, transport.Rank(e.claim.rank),
			fmt.Sprintf("all ranks of job %q have met without %s", s.cfg.Job, e.conn.RemoteAddr())})
	}
}

// urgent reports whether f ends the meeting at once. Timeouts are collected and compared: several
// ranks report them together, and not all know the reason.
func urgent(f *refusal) bool { return f.code != refuseNothing && f.code != refuseMissing }

// decided reports whether every rank has reported.
func (s *server) decided() bool {
	for _, g := range s.members {
		if g.report == nil {
			return false
		}
	}
	return s.opening != nil
}

func (s *server) allOpen() bool {
	for _, g := range s.members {
		if g.report == nil || g.report.code != refuseNothing {
			return false
		}
	}
	return s.opening != nil && s.opening.code == refuseNothing
}

// unopened is the rejection if not every rank has opened its connections in time. It blames a rank
// that has reported nothing, or else one that another could not dial. The higher of two ranks
// dials, so it knows the reason.
func (s *server) unopened() *refusal {
	var silent []transport.Rank
	var first, dialler *refusal
	consider := func(r transport.Rank, f *refusal) {
		if f == nil {
			silent = append(silent, r)
			return
		}
		if f.code == refuseNothing {
			return
		}
		f = &refusal{f.code, f.rank, fmt.Sprintf("%s (found by rank %d)", f.text, r)}
		first = cmp.Or(first, f)
		if f.rank != transport.None && r > f.rank {
			dialler = cmp.Or(dialler, f)
		}
	}
	consider(0, s.opening)
	for r := 1; r < s.cfg.Size; r++ {
		if g := s.members[uint32(r)]; g != nil {
			consider(transport.Rank(r), g.report)
		}
	}
	if len(silent) > 0 {
		return &refusal{refuseMissing, silent[0], fmt.Sprintf("%d of %d ranks have not opened their connections after %v: %s",
			len(silent), s.cfg.Size, s.waited(), list(silent))}
	}
	return cmp.Or(dialler, first)
}
