package rendezvous

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// host is rank 0's side. One goroutine decides: the caller's until all ranks have come, then one of
// its own. Others read what comes and report to it.
type host struct {
	cfg     Config
	mine    claim
	guard   *secure.Guard
	job     [sha256.Size]byte
	parent  context.Context // the caller's
	ctx     context.Context // of the listening and reading; ends with the meeting
	cancel  func()
	listen  net.Listener
	events  chan event
	guests  map[uint32]*guest
	newest  map[string]uint32 // by agent, the highest restart count that has come
	began   time.Time
	until   time.Time // when the meeting has to be decided
	changed bool      // guests have not been told who is missing now
	table   Table
	left    time.Duration // for opening connections, when the table was published
	verdict *refusal      // why the job cannot go on, once that is so
	told    int           // ranks that have heard the verdict
	refused string        // the last of those who did not prove who they are
	wg      sync.WaitGroup

	own      chan *refusal // how opening connections went at rank 0
	opening  *refusal      // the same, once it is known
	finished chan struct{} // closed when outcome is known
	outcome  error
	meeting  *Meeting
}

// guest is a rank that has been accepted.
type guest struct {
	conn   net.Conn
	claim  claim
	report *refusal // how opening its connections went, once it has said so
}

// receive runs the meeting at rank 0 until all ranks have come.
func receive(v *visitor) (*Meeting, error) {
	listen, err := v.listenInstead()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(v.parent))
	h := &host{
		cfg: v.cfg, mine: v.mine, guard: v.guard, job: sha256.Sum256([]byte(v.cfg.Job)), parent: v.parent,
		ctx: ctx, cancel: cancel, listen: listen,
		events: make(chan event), guests: make(map[uint32]*guest), newest: map[string]uint32{v.mine.agent: v.mine.restart},
		began: v.begin, until: v.until, own: make(chan *refusal, 1), finished: make(chan struct{}),
	}
	if d, ok := v.parent.Deadline(); ok && !d.After(h.until) { // there is no staying beyond it
		h.until = d.Add(-margin(time.Until(d)))
	}
	h.wg.Go(func() { secure.Serve(ctx, listen, h.read, h.drop, h.short) })
	if err := h.gather(); err != nil {
		h.end()
		return nil, err
	}
	h.meeting = newMeeting(v.parent, h.table, h.left, h.finish)
	go h.oversee()
	return h.meeting, nil
}

// end closes everything.
func (h *host) end() {
	h.cancel()
	_ = h.listen.Close() // at once, while Receive hears of the end in its own time
	for _, g := range h.guests {
		_ = g.conn.Close()
	}
	h.wg.Wait()
}

// listenInstead opens rank 0's listener, where it would otherwise be a visitor. An address that is
// taken is tried again for a while: a connection of another process may hold the port by chance,
// and another rank 0 of this job, if it is that, says so itself. A name that does not resolve yet,
// or not yet to an address of this machine, is tried until time is up.
func (v *visitor) listenInstead() (net.Listener, error) {
	ctx, cancel := context.WithDeadline(v.parent, v.until)
	defer cancel()
	brief := time.Now().Add(min(v.cfg.Timeout, handshakePatience))
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		places, err := v.cfg.places(ctx)
		if isBadAddress(err) {
			return nil, v.named(err)
		}
		resolved := err == nil
		if resolved {
			var l net.Listener
			if l, err = v.listenAt(ctx, places); err == nil {
				return l, nil
			}
			if told := v.askHolder(ctx); told != nil {
				return nil, told
			}
		}
		if pause == retryFirst {
			v.cfg.Log.Warn("rank 0 cannot listen yet", "addr", v.cfg.Addr, "err", err)
		}
		if !sleep(ctx, pause) || resolved && v.hopeless(err) && time.Now().After(brief) {
			if v.parent.Err() != nil || ctx.Err() != nil {
				err = v.cfg.expired(v.parent, v.begin, "cannot listen at "+v.cfg.Addr, err)
			}
			return nil, &transport.Error{Rank: v.cfg.Rank, Op: opName, Err: err}
		}
	}
}

// askHolder comes to whoever holds rank 0's address, and returns what another rank 0 of this job
// says. Any other program may accept the connection and be silent.
func (v *visitor) askHolder(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handshakePatience)
	defer cancel()
	if _, final, told := v.attempt(ctx); final {
		return told
	}
	return nil
}

// hopeless reports whether a failure to listen is unlikely to pass: all but a name that may still
// resolve elsewhere.
func (v *visitor) hopeless(err error) bool {
	host, _, _ := splitAddr(v.cfg.Addr)
	_, literal := parseHost(host)
	return literal || isLocalhost(host) || !isNotOurs(err)
}

// listenAt listens at the first of places that is an address of this machine.
func (v *visitor) listenAt(ctx context.Context, places []netip.AddrPort) (net.Listener, error) {
	var errs []error
	for _, p := range places {
		l, err := v.cfg.Net.Listen(ctx, p.String())
		if err == nil {
			v.cfg.Log.Debug("rank 0 listens", "addr", v.cfg.Addr, "at", p)
			return l, nil
		}
		if isNotOurs(err) {
			err = fmt.Errorf("%v is no address of this machine: %w", p.Addr(), err)
		}
		errs = append(errs, err)
		if !isNotOurs(err) {
			break // another process has it, and others must not find two
		}
	}
	return nil, errors.Join(errs...)
}

// isNotOurs reports whether listening failed because the address belongs to another machine, or not
// yet to this one.
func isNotOurs(err error) bool { return errors.Is(err, syscall.EADDRNOTAVAIL) }

// gather decides about whoever comes until all are here or the job has failed.
func (h *host) gather() error {
	deadline := time.NewTimer(time.Until(h.until))
	defer deadline.Stop()
	news := time.NewTicker(newsEvery(h.cfg.Size))
	defer news.Stop()
	for len(h.guests) < h.cfg.Size-1 && h.verdict == nil {
		select {
		case e := <-h.events:
			h.handle(e)
			deadline.Reset(time.Until(h.until))
		case <-news.C:
			h.tellMissing()
		case <-deadline.C:
			h.condemn(h.missing())
		case <-h.parent.Done():
			h.condemn(h.givenUp())
		}
	}
	if h.verdict == nil {
		h.publish()
		return nil
	}
	h.linger()
	return h.failure()
}

// givenUp is the verdict when the caller's context has ended.
func (h *host) givenUp() *refusal {
	if errors.Is(h.parent.Err(), context.Canceled) {
		return &refusal{refuseLeft, 0, fmt.Sprintf("rank 0 has given up: %v", context.Cause(h.parent))}
	}
	if h.table.Addrs != nil {
		return h.unopened()
	}
	return h.missing()
}

// failure is the verdict as rank 0's own error.
func (h *host) failure() error {
	if err := h.parent.Err(); errors.Is(err, context.Canceled) && h.verdict.code == refuseLeft && h.verdict.rank == 0 {
		absent := h.missing()
		if h.table.Addrs != nil {
			absent = &refusal{rank: 0, text: "ranks opened their connections"}
		}
		return &transport.Error{Rank: absent.rank, Op: opName, Err: fmt.Errorf("%s: %w", absent.text, err)}
	}
	err := h.verdict.err()
	if h.verdict.code == refuseMissing {
		err = h.cfg.dated(h.parent, h.began, err)
	}
	return err
}

// newsEvery is how often guests are told who is missing, if that has changed: a message to each of
// size guests.
func newsEvery(size int) time.Duration {
	return 50*time.Millisecond + time.Duration(size)*100*time.Microsecond
}

// tellMissing tells all guests whom the meeting waits for.
func (h *host) tellMissing() {
	if !h.changed {
		return
	}
	h.changed = false
	news := h.missing().encode()
	for _, g := range h.guests {
		_ = g.conn.SetWriteDeadline(time.Now().Add(handshakePatience))
		_ = writeParcel(g.conn, kindMissing, h.cfg.Job, news) // who cannot be told is found gone
	}
}

// linger tells the verdict to ranks that come late, and lets the others hear it.
func (h *host) linger() {
	timer := time.NewTimer(verdictLinger)
	defer timer.Stop()
	for h.told < h.cfg.Size-1 || len(h.guests) > 0 {
		select {
		case e := <-h.events:
			h.handle(e)
		case <-timer.C:
			return
		case <-h.parent.Done():
			return
		}
	}
}

// publish gives every guest the table. One that cannot be written to is found gone by its reader.
func (h *host) publish() {
	left := time.Until(h.until)
	h.table = Table{Addrs: make([]string, h.cfg.Size)}
	h.left = left - margin(left)
	_, _ = rand.Read(h.table.Session[:]) // never fails
	h.table.Addrs[0] = h.cfg.Listen
	for r, g := range h.guests {
		h.table.Addrs[r] = g.claim.listen
	}
	_ = h.listen.Close()
	for _, g := range h.guests {
		_ = g.conn.SetWriteDeadline(time.Now().Add(handshakePatience))
		_ = writeParcel(g.conn, kindTable, h.cfg.Job, h.table.encode(h.left))
	}
}

// condemn ends the job: every guest is told. Their connections stay open until they have heard it.
func (h *host) condemn(f *refusal) {
	h.verdict = f
	for _, g := range h.guests {
		h.tell(g.conn, f)
		if c, ok := g.conn.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		}
		h.told++
	}
}

// refuse tells why and closes.
func (h *host) refuse(conn net.Conn, f *refusal) {
	h.tell(conn, f)
	_ = conn.Close()
}

func (h *host) tell(conn net.Conn, f *refusal) {
	h.cfg.Log.Info("refused", "from", conn.RemoteAddr(), "why", f.text)
	_ = conn.SetWriteDeadline(time.Now().Add(handshakePatience))
	_ = writeParcel(conn, kindRefusal, h.cfg.Job, f.encode())
}

// shownRanks bounds the ranks that a message lists.
const shownRanks = 32

// list writes ranks with commas between, or how many more there are.
func list(ranks []transport.Rank) string {
	var names []string
	for _, r := range ranks[:min(len(ranks), shownRanks)] {
		names = append(names, fmt.Sprint(r))
	}
	text := strings.Join(names, ", ")
	if more := len(ranks) - shownRanks; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// missing says which ranks have not come.
func (h *host) missing() *refusal {
	absent := []transport.Rank{}
	for r := 1; r < h.cfg.Size; r++ {
		if h.guests[uint32(r)] == nil {
			absent = append(absent, transport.Rank(r))
		}
	}
	f := &refusal{code: refuseMissing, rank: transport.None}
	if len(absent) > 0 {
		f.rank = absent[0]
	}
	f.text = fmt.Sprintf("%d of %d ranks missing after %v: %s", len(absent), h.cfg.Size, h.waited(), list(absent))
	if h.refused != "" {
		f.text += "; last refused: " + h.refused
	}
	return f
}

// waited is for how long the meeting has lasted.
func (h *host) waited() time.Duration {
	if d := time.Since(h.began); d < h.cfg.Timeout-2*margin(h.cfg.Timeout) || d > h.cfg.Timeout+marginMost {
		return d.Round(time.Millisecond)
	}
	return h.cfg.Timeout
}
