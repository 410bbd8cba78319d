package rendezvous

import (
	"cmp"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// oversee decides while ranks open their connections.
func (h *host) oversee() {
	deadline := time.NewTimer(time.Until(h.until))
	defer deadline.Stop()
	for h.verdict == nil && !h.decided() {
		select {
		case e := <-h.events:
			h.attend(e)
		case h.opening = <-h.own:
			if urgent(h.opening) {
				h.condemn(h.opening)
			}
		case <-deadline.C:
			h.condemn(h.unopened())
		case <-h.parent.Done():
			h.condemn(h.givenUp())
		}
	}
	h.close()
}

// close tells the outcome to all, which is success unless there is a verdict.
func (h *host) close() {
	if h.verdict == nil && !h.allOpen() {
		h.condemn(h.unopened())
	}
	if h.verdict == nil {
		for _, g := range h.guests {
			_ = g.conn.SetWriteDeadline(time.Now().Add(handshakePatience))
			// who cannot be told is found dead by its lanes
			_ = writeParcel(g.conn, kindGo, h.cfg.Job, nil)
		}
	} else {
		h.outcome = h.failure()
		h.meeting.fail(h.outcome)
		h.linger()
	}
	h.end()
	close(h.finished)
}

// finish is rank 0's Finish.
func (h *host) finish(err error) error {
	mine := &refusal{code: refuseNothing}
	if err != nil && h.meeting.verdict() == nil {
		mine = refusalOf(err)
	}
	h.own <- mine
	<-h.finished
	return h.outcome
}

// attend decides about one event while connections are opened.
func (h *host) attend(e event) {
	switch {
	case e.report != nil && h.guests[e.rank] == e.left:
		e.left.report = e.report
		if urgent(e.report) {
			h.condemn(e.report)
		}
	case e.report == nil && e.left != nil && h.guests[e.rank] == e.left:
		h.condemn(dead(e, "opened their connections"))
		h.handle(e)
	case e.conn != nil: // it came as the last of the others did
		h.refuse(e.conn, &refusal{refuseDuplicate, transport.Rank(e.claim.rank),
			fmt.Sprintf("all ranks of job %q have met without %s", h.cfg.Job, e.conn.RemoteAddr())})
	}
}

// urgent reports whether f ends the meeting at once. Ranks whose time for opening connections is up
// are compared, for several will say so together and not all know the reason.
func urgent(f *refusal) bool { return f.code != refuseNothing && f.code != refuseMissing }

// decided reports whether every rank has said how it went.
func (h *host) decided() bool {
	for _, g := range h.guests {
		if g.report == nil {
			return false
		}
	}
	return h.opening != nil
}

func (h *host) allOpen() bool {
	for _, g := range h.guests {
		if g.report == nil || g.report.code != refuseNothing {
			return false
		}
	}
	return h.opening != nil && h.opening.code == refuseNothing
}

// unopened says whom to blame when not every rank has opened its connections in time: a rank that
// says nothing, or else the one which another could not dial. It is always the higher rank of two
// that dials, so it knows why.
func (h *host) unopened() *refusal {
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
	consider(0, h.opening)
	for r := 1; r < h.cfg.Size; r++ {
		if g := h.guests[uint32(r)]; g != nil {
			consider(transport.Rank(r), g.report)
		}
	}
	if len(silent) > 0 {
		return &refusal{refuseMissing, silent[0], fmt.Sprintf("%d of %d ranks have not opened their connections after %v: %s",
			len(silent), h.cfg.Size, h.waited(), list(silent))}
	}
	return cmp.Or(dialler, first)
}
