package rendezvous

import (
	"cmp"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// handle decides about one event while ranks join, and while a rejection is sent.
func (s *server) handle(e event) {
	switch {
	case e.refused != "":
		s.refused = e.refused
	case e.secured != "":
		s.rejectJob(cmp.Or(s.rejection, &refusal{refuseMismatch, transport.None,
			fmt.Sprintf("security: rank 0 has none, but %s: %s", e.conn.RemoteAddr(), e.secured)}))
		s.notified++ // by a notice of its own protocol
		_ = e.conn.Close()
	case e.short != nil && s.rejection == nil:
		s.rejectJob(&refusal{refuseFailed, 0, fmt.Sprintf("rank 0 cannot accept connections: %v", e.short)})
	case e.short != nil:
	case e.gone != nil:
		s.declareDead(e)
	case e.report != nil:
		s.handleReport(e)
	case e.left != nil:
		s.handleDeparture(e)
	case e.message.job != s.job:
		s.refuse(e.conn, &refusal{refuseMismatch, 0, fmt.Sprintf("job: rank 0 at %s belongs to %q", s.cfg.Addr, s.cfg.Job)})
	case s.rejection != nil && s.isLaterStart(&e.claim):
		_ = e.conn.Close() // it will connect again, to the rank 0 of its own start
	case s.rejection != nil:
		s.refuse(e.conn, s.rejection)
		s.notified++
	case e.message.version != wireVersion:
		s.rejectJob(&refusal{refuseMismatch, transport.None,
			fmt.Sprintf("protocol version: rank 0 has %d, %s has %d", wireVersion, e.conn.RemoteAddr(), e.message.version)})
		s.refuse(e.conn, s.rejection)
		s.notified++
	default:
		s.decide(e)
	}
}

// decide accepts or refuses a rank of this job.
func (s *server) decide(e event) {
	rank := transport.Rank(e.claim.rank)
	if err := e.peer.Check(rank); err != nil {
		s.refused = err.Error()
		s.refuse(e.conn, &refusal{refuseMismatch, rank, err.Error()})
		return
	}
	if d := disagreement(&s.mine, &e.claim); d != "" {
		s.rejectJob(&refusal{refuseMismatch, rank, d})
		s.refuse(e.conn, s.rejection)
		s.notified++
		return
	}
	if s.isEarlierStart(&e.claim) {
		s.stepDown(e)
		return
	}
	if older := s.supersede(&e.claim); older != nil {
		s.refuse(e.conn, older)
		return
	}
	_, taken := s.members[e.claim.rank]
	switch {
	case e.claim.rank == 0 || s.table.Addrs != nil || (taken && e.retry):
		s.refuse(e.conn, &refusal{refuseDuplicate, rank,
			fmt.Sprintf("rank %d of job %q is here already, %s claims it too", rank, s.cfg.Job, e.conn.RemoteAddr())})
	case taken:
		s.wg.Go(func() { s.reconsider(e) })
	default:
		s.welcome(e)
	}
}

// isEarlierStart reports whether rank 0 itself remains from an earlier start of c's agent.
func (s *server) isEarlierStart(c *claim) bool {
	return c.agent != "" && c.agent == s.mine.agent && c.restart > s.mine.restart && s.table.Addrs == nil
}

// isLaterStart reports whether c is from a later start of its agent than any rank of this meeting.
func (s *server) isLaterStart(c *claim) bool {
	newest, known := s.newest[c.agent]
	return c.agent != "" && known && c.restart > newest
}

// stepDown ends this rank 0 in favour of the one that its agent has started or is about to start.
// Ranks of another agent connect again, and so does the rank whose claim showed this.
func (s *server) stepDown(e event) {
	s.rejection = earlierStart(0, s.mine.restart, e.claim.restart)
	for _, g := range s.members {
		if g.claim.agent == s.mine.agent {
			s.refuse(g.conn, earlierStart(g.claim.rank, g.claim.restart, e.claim.restart))
		} else {
			_ = g.conn.Close()
		}
	}
	clear(s.members)
	_ = e.conn.Close()
	s.notified = s.cfg.Size // no rank needs a rejection
}

func earlierStart(rank, was, is uint32) *refusal {
	return &refusal{refuseDuplicate, transport.Rank(rank),
		fmt.Sprintf("rank %d belongs to start %d of its agent, which has started the job anew (%d)", rank, was, is)}
}

// supersede refuses the members that remain from an earlier start of c's agent. It returns why c is
// refused, if c itself is from an earlier start.
func (s *server) supersede(c *claim) *refusal {
	if c.agent == "" || s.table.Addrs != nil {
		return nil
	}
	newest, known := s.newest[c.agent]
	if known && c.restart < newest {
		return earlierStart(c.rank, c.restart, newest)
	}
	s.newest[c.agent] = c.restart
	for r, g := range s.members {
		if g.claim.agent == c.agent && g.claim.restart < c.restart {
			delete(s.members, r)
			s.refuse(g.conn, earlierStart(r, g.claim.restart, c.restart))
			s.changed = true
		}
	}
	return nil
}

// reconsider reports a claim to a rank that is taken again, after a while.
func (s *server) reconsider(e event) {
	sleep(s.ctx, departureGrace)
	e.retry = true
	s.report(e)
}

// welcome accepts a rank and starts to watch its connection.
func (s *server) welcome(e event) {
	_ = e.conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := writeMessage(e.conn, kindWelcome, s.cfg.Job, s.mine.encode()); err != nil {
		_ = e.conn.Close()
		return
	}
	_ = e.conn.SetDeadline(time.Time{})
	g := &member{conn: e.conn, claim: e.claim}
	s.members[e.claim.rank] = g
	s.changed = true
	if end := time.Now().Add(e.claim.left - margin(e.claim.left)); end.Before(s.until) {
		s.until = end
	}
	s.cfg.Log.Debug("rank arrived", "rank", e.claim.rank, "from", e.conn.RemoteAddr(), "listen", g.claim.listen)
	s.wg.Go(func() { s.watch(g) })
}

// watch reads the reports of a member until its connection ends.
func (s *server) watch(g *member) {
	for {
		p, err := readMessage(g.conn, maxBodyBytes)
		if err == nil && p.kind != kindReport {
			err = fmt.Errorf("kind %d from a member: %w", p.kind, transport.ErrProtocol)
		}
		var f refusal
		if err == nil {
			f, err = decodeRefusal(p.body)
		}
		if err != nil {
			s.report(event{left: g, rank: g.claim.rank, why: err})
			return
		}
		s.report(event{report: &f, left: g, rank: g.claim.rank})
	}
}

// handleDeparture notes that a member's connection has ended. It may come back within returnGrace;
// after that it is dead.
func (s *server) handleDeparture(e event) {
	_ = e.left.conn.Close()
	if s.members[e.rank] != e.left {
		return
	}
	delete(s.members, e.rank)
	s.changed = true
	if s.rejection != nil {
		return
	}
	e.gone, e.left = e.left, nil
	s.wg.Go(func() {
		sleep(s.ctx, returnGrace)
		s.report(e)
	})
}

// declareDead rejects the job because of a member that has not come back.
func (s *server) declareDead(e event) {
	if s.members[e.rank] == nil && s.rejection == nil && s.newest[e.gone.claim.agent] <= e.gone.claim.restart {
		s.rejectJob(dead(e, "met"))
	}
}

func dead(e event, doing string) *refusal {
	return &refusal{refuseDead, transport.Rank(e.rank), fmt.Sprintf("its connection ended while ranks %s: %v", doing, e.why)}
}

// handleReport takes the report of a member that stops waiting.
func (s *server) handleReport(e event) {
	if s.members[e.rank] != e.left || s.rejection != nil {
		return
	}
	f := e.report
	if f.code == refuseMissing { // its time is up before rank 0 has decided
		f = s.missing()
	}
	s.rejectJob(f)
}
