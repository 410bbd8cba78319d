package rendezvous

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// host is rank 0's side. One goroutine, the caller's, decides; others read what comes and report to it.
type host struct {
	cfg     Config
	mine    claim
	guard   *secure.Guard
	job     [sha256.Size]byte
	ctx     context.Context // of the listening and reading; ends with the meeting
	events  chan event
	guests  map[uint32]*guest
	verdict *refusal // why the job cannot go on, once that is so
	told    int      // ranks that have heard the verdict
	refused string   // the last of those who did not prove who they are
	wg      sync.WaitGroup
}

// guest is a rank that has been accepted.
type guest struct {
	conn   net.Conn
	listen string
}

// receive runs the meeting at rank 0.
func receive(parent context.Context, v *visitor) (Table, error) {
	listen, err := v.listenInstead(parent)
	if err != nil {
		return Table{}, err
	}
	ctx, cancel := context.WithCancel(parent)
	h := &host{
		cfg: v.cfg, mine: v.mine, guard: v.guard, job: sha256.Sum256([]byte(v.cfg.Job)), ctx: ctx,
		events: make(chan event), guests: make(map[uint32]*guest),
	}
	h.wg.Go(func() { secure.Receive(ctx, listen, h.read, h.drop) })
	table, err := h.run(parent)
	cancel()
	_ = listen.Close() // at once, while Receive hears of the end in its own time
	for _, g := range h.guests {
		_ = g.conn.Close()
	}
	h.wg.Wait()
	return table, err
}

// listenInstead opens rank 0's listener, where it would otherwise be a visitor. An address that is taken is tried again for a while: a connection of another
// process may hold the port by chance, and another rank 0 of this job, if it is that, says so itself.
func (v *visitor) listenInstead(parent context.Context) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(parent, min(v.cfg.Timeout, handshakePatience))
	defer cancel()
	for {
		l, err := net.Listen("tcp", v.cfg.Addr)
		if err == nil {
			return l, nil
		}
		if _, final, told := v.attempt(ctx); final && told != nil {
			return nil, told
		}
		timer := time.NewTimer(retryFirst)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, &transport.Error{Rank: v.cfg.Rank, Op: opName, Err: err}
		}
	}
}

// run decides about whoever comes until all are here or the job has failed.
func (h *host) run(ctx context.Context) (Table, error) {
	deadline := time.NewTimer(h.cfg.Timeout)
	defer deadline.Stop()
	for len(h.guests) < h.cfg.Size-1 && h.verdict == nil {
		select {
		case e := <-h.events:
			h.handle(e)
		case <-deadline.C:
			h.condemn(h.missing())
		case <-ctx.Done():
			return Table{}, &transport.Error{Rank: h.cfg.Rank, Op: opName, Err: ctx.Err()}
		}
	}
	if h.verdict != nil {
		h.linger(ctx)
		return Table{}, h.verdict.err()
	}
	return h.publish()
}

// linger tells the verdict to ranks that come late.
func (h *host) linger(ctx context.Context) {
	timer := time.NewTimer(verdictLinger)
	defer timer.Stop()
	for h.told < h.cfg.Size-1 {
		select {
		case e := <-h.events:
			h.handle(e)
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// publish gives every guest the table.
func (h *host) publish() (Table, error) {
	t := Table{Addrs: make([]string, h.cfg.Size)}
	_, _ = rand.Read(t.Session[:]) // never fails
	t.Addrs[0] = h.cfg.Listen
	for r, g := range h.guests {
		t.Addrs[r] = g.listen
	}
	for r, g := range h.guests {
		_ = g.conn.SetWriteDeadline(time.Now().Add(handshakePatience))
		if err := writeParcel(g.conn, kindTable, h.cfg.Job, t.encode()); err != nil {
			return Table{}, &transport.Error{Rank: transport.Rank(r), Op: opName, Err: fmt.Errorf("%w: %w", transport.ErrPeerDead, err)}
		}
	}
	return t, nil
}

// handle decides about one event.
func (h *host) handle(e event) {
	switch {
	case e.refused != "":
		h.refused = e.refused
	case e.secured != "":
		h.condemn(cmp.Or(h.verdict, &refusal{refuseMismatch, transport.None,
			fmt.Sprintf("security: rank 0 has none, but %s: %s", e.conn.RemoteAddr(), e.secured)}))
		h.told++ // in the manner of its own security
		_ = e.conn.Close()
	case e.left != nil:
		if h.guests[e.rank] == e.left {
			delete(h.guests, e.rank)
		}
		_ = e.left.conn.Close()
	case e.parcel.job != h.job:
		h.refuse(e.conn, &refusal{refuseMismatch, 0, fmt.Sprintf("job: rank 0 at %s belongs to %q", h.cfg.Addr, h.cfg.Job)})
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
	if err := e.peer.Check(transport.Rank(e.claim.rank)); err != nil {
		h.refused = err.Error()
		h.refuse(e.conn, &refusal{refuseMismatch, transport.Rank(e.claim.rank), err.Error()})
		return
	}
	if d := disagreement(&h.mine, &e.claim); d != "" {
		h.condemn(&refusal{refuseMismatch, transport.Rank(e.claim.rank), d})
		h.refuse(e.conn, h.verdict)
		h.told++
		return
	}
	_, taken := h.guests[e.claim.rank]
	switch {
	case e.claim.rank == 0 || (taken && e.retry):
		h.refuse(e.conn, &refusal{refuseDuplicate, transport.Rank(e.claim.rank),
			fmt.Sprintf("rank %d of job %q is here already, %s claims it too", e.claim.rank, h.cfg.Job, e.conn.RemoteAddr())})
	case taken:
		h.wg.Go(func() { h.reconsider(e) })
	default:
		h.welcome(e)
	}
}

// reconsider brings the claim to a rank that is taken back after a while.
func (h *host) reconsider(e event) {
	timer := time.NewTimer(departureGrace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-h.ctx.Done():
	}
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
	g := &guest{e.conn, e.claim.listen}
	h.guests[e.claim.rank] = g
	h.cfg.Log.Debug("rank arrived", "rank", e.claim.rank, "from", e.conn.RemoteAddr(), "listen", g.listen)
	h.wg.Go(func() {
		_, _ = g.conn.Read(make([]byte, 1)) // a guest has nothing more to say: whatever ends this ends its stay
		h.report(event{left: g, rank: e.claim.rank})
	})
}

// condemn ends the job: every guest is told.
func (h *host) condemn(f *refusal) {
	h.verdict = f
	for _, g := range h.guests {
		h.refuse(g.conn, f)
		h.told++
	}
}

// refuse tells why and closes.
func (h *host) refuse(conn net.Conn, f *refusal) {
	h.cfg.Log.Info("refused", "from", conn.RemoteAddr(), "why", f.text)
	_ = conn.SetWriteDeadline(time.Now().Add(handshakePatience))
	_ = writeParcel(conn, kindRefusal, h.cfg.Job, f.encode())
	_ = conn.Close()
}

// missing is the verdict when time is up.
func (h *host) missing() *refusal {
	var absent []string
	first := transport.None
	for r := 1; r < h.cfg.Size; r++ {
		if h.guests[uint32(r)] == nil {
			absent = append(absent, fmt.Sprint(r))
			if first == transport.None {
				first = transport.Rank(r)
			}
		}
	}
	text := fmt.Sprintf("%d of %d ranks missing after %v: %s", len(absent), h.cfg.Size, h.cfg.Timeout, strings.Join(absent, ", "))
	if h.refused != "" {
		text += "; last refused: " + h.refused
	}
	return &refusal{refuseMissing, first, text}
}
