package rendezvous

import (
	"cmp"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// handle decides about one event while ranks come, and while a verdict is told.
func (h *host) handle(e event) {
	switch {
	case e.refused != "":
		h.refused = e.refused
	case e.secured != "":
		h.condemn(cmp.Or(h.verdict, &refusal{refuseMismatch, transport.None,
			fmt.Sprintf("security: rank 0 has none, but %s: %s", e.conn.RemoteAddr(), e.secured)}))
		h.told++ // in the manner of its own security
		_ = e.conn.Close()
	case e.short != nil && h.verdict == nil:
		h.condemn(&refusal{refuseFailed, 0, fmt.Sprintf("rank 0 cannot accept connections: %v", e.short)})
	case e.short != nil:
	case e.gone != nil:
		h.bury(e)
	case e.report != nil:
		h.hear(e)
	case e.left != nil:
		h.depart(e)
	case e.parcel.job != h.job:
		h.refuse(e.conn, &refusal{refuseMismatch, 0, fmt.Sprintf("job: rank 0 at %s belongs to %q", h.cfg.Addr, h.cfg.Job)})
	case h.verdict != nil && h.isAnew(&e.claim):
		_ = e.conn.Close() // it comes again, to the rank 0 of its own start
	case h.verdict != nil:
		h.refuse(e.conn, h.verdict)
		h.told++
	case e.parcel.version != wireVersion:
		h.condemn(&refusal{refuseMismatch, transport.None,
			fmt.Sprintf("protocol version: rank 0 has %d, %s has %d", wireVersion, e.conn.RemoteAddr(), e.parcel.version)})
		h.refuse(e.conn, h.verdict)
		h.told++
	default:
		h.judge(e)
	}
}

// judge decides about a rank of this job.
func (h *host) judge(e event) {
	rank := transport.Rank(e.claim.rank)
	if err := e.peer.Check(rank); err != nil {
		h.refused = err.Error()
		h.refuse(e.conn, &refusal{refuseMismatch, rank, err.Error()})
		return
	}
	if d := disagreement(&h.mine, &e.claim); d != "" {
		h.condemn(&refusal{refuseMismatch, rank, d})
		h.refuse(e.conn, h.verdict)
		h.told++
		return
	}
	if h.isOlderThan(&e.claim) {
		h.stepDown(e)
		return
	}
	if older := h.supersede(&e.claim); older != nil {
		h.refuse(e.conn, older)
		return
	}
	_, taken := h.guests[e.claim.rank]
	switch {
	case e.claim.rank == 0 || h.table.Addrs != nil || (taken && e.retry):
		h.refuse(e.conn, &refusal{refuseDuplicate, rank,
			fmt.Sprintf("rank %d of job %q is here already, %s claims it too", rank, h.cfg.Job, e.conn.RemoteAddr())})
	case taken:
		h.wg.Go(func() { h.reconsider(e) })
	default:
		h.welcome(e)
	}
}

// isOlderThan reports whether rank 0 itself is left behind by an earlier start of c's agent.
func (h *host) isOlderThan(c *claim) bool {
	return c.agent != "" && c.agent == h.mine.agent && c.restart > h.mine.restart && h.table.Addrs == nil
}

// isAnew reports whether c is from a later start of its agent than any that this meeting has been
// about.
func (h *host) isAnew(c *claim) bool {
	newest, known := h.newest[c.agent]
	return c.agent != "" && known && c.restart > newest
}

// stepDown ends this rank 0 in favour of the one that its agent has started or is about to start.
// Who does not belong to this start comes again, and so does the rank that told of the other.
func (h *host) stepDown(e event) {
	h.verdict = earlierStart(0, h.mine.restart, e.claim.restart)
	for _, g := range h.guests {
		if g.claim.agent == h.mine.agent {
			h.refuse(g.conn, earlierStart(g.claim.rank, g.claim.restart, e.claim.restart))
		} else {
			_ = g.conn.Close()
		}
	}
	clear(h.guests)
	_ = e.conn.Close()
	h.told = h.cfg.Size // nobody is to be told
}

func earlierStart(rank, was, is uint32) *refusal {
	return &refusal{refuseDuplicate, transport.Rank(rank),
		fmt.Sprintf("rank %d belongs to start %d of its agent, which has started the job anew (%d)", rank, was, is)}
}

// supersede sends away the guests of c's agent that an earlier start of it has left behind, and
// returns why c itself is refused, if it is from one.
func (h *host) supersede(c *claim) *refusal {
	if c.agent == "" || h.table.Addrs != nil {
		return nil
	}
	newest, known := h.newest[c.agent]
	if known && c.restart < newest {
		return earlierStart(c.rank, c.restart, newest)
	}
	h.newest[c.agent] = c.restart
	for r, g := range h.guests {
		if g.claim.agent == c.agent && g.claim.restart < c.restart {
			delete(h.guests, r)
			h.refuse(g.conn, earlierStart(r, g.claim.restart, c.restart))
			h.changed = true
		}
	}
	return nil
}

// reconsider brings the claim to a rank that is taken back after a while.
func (h *host) reconsider(e event) {
	sleep(h.ctx, departureGrace)
	e.retry = true
	h.report(e)
}

// welcome accepts a rank and watches whether it stays.
func (h *host) welcome(e event) {
	_ = e.conn.SetDeadline(time.Now().Add(handshakePatience))
	if err := writeParcel(e.conn, kindWelcome, h.cfg.Job, h.mine.encode()); err != nil {
		_ = e.conn.Close()
		return
	}
	_ = e.conn.SetDeadline(time.Time{})
	g := &guest{conn: e.conn, claim: e.claim}
	h.guests[e.claim.rank] = g
	h.changed = true
	if end := time.Now().Add(e.claim.left - margin(e.claim.left)); end.Before(h.until) {
		h.until = end
	}
	h.cfg.Log.Debug("rank arrived", "rank", e.claim.rank, "from", e.conn.RemoteAddr(), "listen", g.claim.listen)
	h.wg.Go(func() { h.watch(g) })
}

// watch hears what a guest reports, until its connection ends.
func (h *host) watch(g *guest) {
	for {
		p, err := readParcel(g.conn, maxBodyBytes)
		if err == nil && p.kind != kindReport {
			err = fmt.Errorf("kind %d from a guest: %w", p.kind, transport.ErrProtocol)
		}
		var f refusal
		if err == nil {
			f, err = decodeRefusal(p.body)
		}
		if err != nil {
			h.report(event{left: g, rank: g.claim.rank, why: err})
			return
		}
		h.report(event{report: &f, left: g, rank: g.claim.rank})
	}
}

// depart notes that a guest's connection has ended. It may come back within returnGrace; after that
// it is dead.
func (h *host) depart(e event) {
	_ = e.left.conn.Close()
	if h.guests[e.rank] != e.left {
		return
	}
	delete(h.guests, e.rank)
	h.changed = true
	if h.verdict != nil {
		return
	}
	e.gone, e.left = e.left, nil
	h.wg.Go(func() {
		sleep(h.ctx, returnGrace)
		h.report(e)
	})
}

// bury condemns the job because of a guest that has not come back.
func (h *host) bury(e event) {
	if h.guests[e.rank] == nil && h.verdict == nil && h.newest[e.gone.claim.agent] <= e.gone.claim.restart {
		h.condemn(dead(e, "met"))
	}
}

func dead(e event, doing string) *refusal {
	return &refusal{refuseDead, transport.Rank(e.rank), fmt.Sprintf("its connection ended while ranks %s: %v", doing, e.why)}
}

// hear takes the report of a guest that does not wait any longer.
func (h *host) hear(e event) {
	if h.guests[e.rank] != e.left || h.verdict != nil {
		return
	}
	f := e.report
	if f.code == refuseMissing { // its time is up before rank 0 has decided
		f = h.missing()
	}
	h.condemn(f)
}
