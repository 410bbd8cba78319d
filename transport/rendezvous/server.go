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

// server is rank 0's side. One goroutine decides: the caller's until all ranks have joined, then
// one of its own. Others read connections and send it events.
type server struct {
	cfg       Config
	mine      claim
	guard     *secure.Guard
	job       [sha256.Size]byte
	parent    context.Context // the caller's
	ctx       context.Context // of the listening and reading; ends with the meeting
	cancel    func()
	listen    net.Listener
	events    chan event
	members   map[uint32]*member
	newest    map[string]uint32 // by agent, the highest restart count seen
	began     time.Time
	until     time.Time // when the meeting must be decided
	changed   bool      // the missing ranks have changed since members were informed
	table     Table
	left      time.Duration // for opening connections, when the table was published
	rejection *refusal      // why the job cannot go on, or nil
	notified  int           // ranks that were sent the rejection
	refused   string        // the last peer that did not authenticate itself
	wg        sync.WaitGroup

	own      chan *refusal // how opening connections went at rank 0
	opening  *refusal      // the same, once it is known
	finished chan struct{} // closed when outcome is known
	outcome  error
	meeting  *Meeting
}

// member is a rank that rank 0 has accepted.
type member struct {
	conn   net.Conn
	claim  claim
	report *refusal // whether it has opened its connections, or nil
}

// serve runs the meeting at rank 0 until all ranks have joined.
func serve(v *client) (*Meeting, error) {
	listen, err := v.listen()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(v.parent))
	s := &server{
		cfg: v.cfg, mine: v.mine, guard: v.guard, job: sha256.Sum256([]byte(v.cfg.Job)), parent: v.parent,
		ctx: ctx, cancel: cancel, listen: listen,
		events: make(chan event), members: make(map[uint32]*member), newest: map[string]uint32{v.mine.agent: v.mine.restart},
		began: v.begin, until: v.until, own: make(chan *refusal, 1), finished: make(chan struct{}),
	}
	if d, ok := v.parent.Deadline(); ok && !d.After(s.until) { // the caller does not wait longer
		s.until = d.Add(-margin(time.Until(d)))
	}
	s.wg.Go(func() { secure.Serve(ctx, listen, s.read, s.drop, s.short) })
	if err := s.gather(); err != nil {
		s.end()
		return nil, err
	}
	s.meeting = newMeeting(v.parent, s.table, s.left, s.finish)
	go s.superviseOpening()
	return s.meeting, nil
}

// end closes everything.
func (s *server) end() {
	s.cancel()
	_ = s.listen.Close() // at once; Serve notices later
	for _, g := range s.members {
		_ = g.conn.Close()
	}
	s.wg.Wait()
}

// listen opens rank 0's listener. An address in use is tried again for a while: a connection of
// another process may hold the port by chance, and if another rank 0 of this job holds it, that one
// says so. A name that does not resolve yet, or not yet to an address of this machine, is tried
// until time is up.
func (c *client) listen() (net.Listener, error) {
	ctx, cancel := context.WithDeadline(c.parent, c.until)
	defer cancel()
	retryUntil := time.Now().Add(min(c.cfg.Timeout, handshakeTimeout))
	for pause := minRetry; ; pause = min(2*pause, maxRetry) {
		addrs, err := c.cfg.addrPorts(ctx)
		if isBadAddress(err) {
			return nil, c.addressFault(err)
		}
		resolved := err == nil
		if resolved {
			var l net.Listener
			if l, err = c.listenAt(ctx, addrs); err == nil {
				return l, nil
			}
			if refused := c.askOtherRank0(ctx); refused != nil {
				return nil, refused
			}
		}
		if pause == minRetry {
			c.cfg.Log.Warn("rank 0 cannot listen yet", "addr", c.cfg.Addr, "err", err)
		}
		if !sleep(ctx, pause) || resolved && c.isPermanent(err) && time.Now().After(retryUntil) {
			if c.parent.Err() != nil || ctx.Err() != nil {
				err = c.cfg.expired(c.parent, c.begin, "cannot listen at "+c.cfg.Addr, err)
			}
			return nil, &transport.Error{Rank: c.cfg.Rank, Op: opName, Err: err}
		}
	}
}

// askOtherRank0 connects to the process at rank 0's address, and returns the refusal if that is
// another rank 0 of this job. Any other program may accept the connection and be silent.
func (c *client) askOtherRank0(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if _, final, err := c.attempt(ctx); final {
		return err
	}
	return nil
}

// isPermanent reports whether a failure to listen is unlikely to pass: unless a name may still
// resolve to another address.
func (c *client) isPermanent(err error) bool {
	host, _, _ := splitAddr(c.cfg.Addr)
	_, literal := parseHost(host)
	return literal || isLocalhost(host) || !isNotLocal(err)
}

// listenAt listens at the first of addrs that is an address of this machine.
func (c *client) listenAt(ctx context.Context, addrs []netip.AddrPort) (net.Listener, error) {
	var errs []error
	for _, p := range addrs {
		l, err := c.cfg.Net.Listen(ctx, p.String())
		if err == nil {
			c.cfg.Log.Debug("rank 0 listens", "addr", c.cfg.Addr, "at", p)
			return l, nil
		}
		if isNotLocal(err) {
			err = fmt.Errorf("%v is no address of this machine: %w", p.Addr(), err)
		}
		errs = append(errs, err)
		if !isNotLocal(err) {
			break // another process has it, and other ranks must not find two listeners
		}
	}
	return nil, errors.Join(errs...)
}

// isNotLocal reports whether listening failed because the address belongs to another machine, or
// not yet to this one.
func isNotLocal(err error) bool { return errors.Is(err, syscall.EADDRNOTAVAIL) }

// gather handles events until all ranks have joined or the job has failed.
func (s *server) gather() error {
	deadline := time.NewTimer(time.Until(s.until))
	defer deadline.Stop()
	ticker := time.NewTicker(missingInterval(s.cfg.Size))
	defer ticker.Stop()
	for len(s.members) < s.cfg.Size-1 && s.rejection == nil {
		select {
		case e := <-s.events:
			s.handle(e)
			deadline.Reset(time.Until(s.until))
		case <-ticker.C:
			s.sendMissing()
		case <-deadline.C:
			s.rejectJob(s.missing())
		case <-s.parent.Done():
			s.rejectJob(s.cancelled())
		}
	}
	if s.rejection == nil {
		s.publish()
		return nil
	}
	s.rejectLate()
	return s.failure()
}

// cancelled is the rejection when the caller's context has ended.
func (s *server) cancelled() *refusal {
	if errors.Is(s.parent.Err(), context.Canceled) {
		return &refusal{refuseLeft, 0, fmt.Sprintf("rank 0 has given up: %v", context.Cause(s.parent))}
	}
	if s.table.Addrs != nil {
		return s.unopened()
	}
	return s.missing()
}

// failure is the rejection as rank 0's own error.
func (s *server) failure() error {
	if err := s.parent.Err(); errors.Is(err, context.Canceled) && s.rejection.code == refuseLeft && s.rejection.rank == 0 {
		absent := s.missing()
		if s.table.Addrs != nil {
			absent = &refusal{rank: 0, text: "ranks opened their connections"}
		}
		return &transport.Error{Rank: absent.rank, Op: opName, Err: fmt.Errorf("%s: %w", absent.text, err)}
	}
	err := s.rejection.err()
	if s.rejection.code == refuseMissing {
		err = s.cfg.dated(s.parent, s.began, err)
	}
	return err
}

// missingInterval is how often members are sent the missing ranks, if those have changed: one
// message to each of size members.
func missingInterval(size int) time.Duration {
	return 50*time.Millisecond + time.Duration(size)*100*time.Microsecond
}

// sendMissing sends all members the ranks that the meeting waits for.
func (s *server) sendMissing() {
	if !s.changed {
		return
	}
	s.changed = false
	body := s.missing().encode()
	for _, g := range s.members {
		_ = g.conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
		_ = writeMessage(g.conn, kindMissing, s.cfg.Job, body) // its reader finds a dead one
	}
}

// rejectLate sends the rejection to ranks that come late, and waits until the others have read it.
func (s *server) rejectLate() {
	timer := time.NewTimer(rejectGrace)
	defer timer.Stop()
	for s.notified < s.cfg.Size-1 || len(s.members) > 0 {
		select {
		case e := <-s.events:
			s.handle(e)
		case <-timer.C:
			return
		case <-s.parent.Done():
			return
		}
	}
}

// publish sends every member the table. The reader of a dead member's connection finds that.
func (s *server) publish() {
	left := time.Until(s.until)
	s.table = Table{Addrs: make([]string, s.cfg.Size)}
	s.left = left - margin(left)
	_, _ = rand.Read(s.table.Session[:]) // never fails
	s.table.Addrs[0] = s.cfg.Listen
	for r, g := range s.members {
		s.table.Addrs[r] = g.claim.listen
	}
	_ = s.listen.Close()
	for _, g := range s.members {
		_ = g.conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
		_ = writeMessage(g.conn, kindTable, s.cfg.Job, s.table.encode(s.left))
	}
}

// rejectJob ends the job for f: it is sent to every member. Their connections stay open until they
// have read it.
func (s *server) rejectJob(f *refusal) {
	s.rejection = f
	for _, g := range s.members {
		s.sendRefusal(g.conn, f)
		if c, ok := g.conn.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		}
		s.notified++
	}
}

// refuse sends f and closes conn.
func (s *server) refuse(conn net.Conn, f *refusal) {
	s.sendRefusal(conn, f)
	_ = conn.Close()
}

func (s *server) sendRefusal(conn net.Conn, f *refusal) {
	s.cfg.Log.Info("refused", "from", conn.RemoteAddr(), "why", f.text)
	_ = conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	_ = writeMessage(conn, kindRefusal, s.cfg.Job, f.encode())
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

// missing returns a refusal that names the ranks that have not joined.
func (s *server) missing() *refusal {
	absent := []transport.Rank{}
	for r := 1; r < s.cfg.Size; r++ {
		if s.members[uint32(r)] == nil {
			absent = append(absent, transport.Rank(r))
		}
	}
	f := &refusal{code: refuseMissing, rank: transport.None}
	if len(absent) > 0 {
		f.rank = absent[0]
	}
	f.text = fmt.Sprintf("%d of %d ranks missing after %v: %s", len(absent), s.cfg.Size, s.waited(), list(absent))
	if s.refused != "" {
		f.text += "; last refused: " + s.refused
	}
	return f
}

// waited is how long the meeting has lasted.
func (s *server) waited() time.Duration {
	if d := time.Since(s.began); d < s.cfg.Timeout-2*margin(s.cfg.Timeout) || d > s.cfg.Timeout+maxMargin {
		return d.Round(time.Millisecond)
	}
	return s.cfg.Timeout
}
