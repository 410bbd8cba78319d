package rendezvous

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/internal/shortage"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// errSelf: if no process listens at a port, a connection from an ephemeral port can connect to
// itself. It must be closed at once, because it keeps rank 0 from listening there.
var errSelf = errors.New("no process listens: the connection reached itself")

// client is the side of all ranks but 0.
type client struct {
	cfg    Config
	mine   claim
	guard  *secure.Guard
	parent context.Context // the caller's
	begin  time.Time
	until  time.Time // when this rank gives up

	missing *refusal  // the ranks that rank 0 last said it waits for
	lost    time.Time // when the connection to rank 0, which had accepted this rank, ended
}

// join connects to rank 0, and again until rank 0 answers or time is up.
func (c *client) join() (*Meeting, error) {
	ctx, cancel := context.WithDeadline(c.parent, c.until.Add(decisionGrace))
	defer cancel()
	var last error
	var shortages shortage.Watch
	for pause := minRetry; last == nil || time.Now().Before(c.until); pause = min(2*pause, maxRetry) {
		m, final, err := c.attempt(ctx)
		if final {
			return m, err
		}
		// An attempt that was cut short says less than the last one.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if shortages.Lasts(err) {
			return nil, &transport.Error{Rank: c.cfg.Rank, Op: opName, Err: fmt.Errorf("cannot connect to rank 0 at %s: %w", c.cfg.Addr, err)}
		}
		if !c.lost.IsZero() && time.Since(c.lost) > returnGrace {
			return nil, &transport.Error{Rank: 0, Op: opName,
				Err: fmt.Errorf("rank 0 at %s: %w while ranks met: %w", c.cfg.Addr, transport.ErrPeerDead, last)}
		}
		if !sleep(ctx, pause) {
			break
		}
	}
	return nil, c.giveUp(last)
}

// giveUp is the error of a rank whose time is up, or whose caller has cancelled: which ranks rank 0
// has been waiting for, or that rank 0 did not answer.
func (c *client) giveUp(last error) error {
	if c.missing == nil {
		return &transport.Error{Rank: 0, Op: opName, Err: c.cfg.expired(c.parent, c.begin, "no answer at "+c.cfg.Addr, last)}
	}
	cause := error(transport.ErrTimeout)
	if errors.Is(c.parent.Err(), context.Canceled) {
		cause = c.parent.Err()
	}
	err := fmt.Errorf("%s (as rank 0 last said; this rank waited %v): %w",
		printable.Text(c.missing.text, maxBodyBytes), time.Since(c.begin).Round(time.Millisecond), cause)
	if cause == transport.ErrTimeout {
		err = c.cfg.dated(c.parent, c.begin, err)
	}
	return &transport.Error{Rank: c.missing.rank, Op: opName, Err: err}
}

// attempt connects to rank 0 once, at each of its addresses. final reports that another attempt
// cannot succeed.
func (c *client) attempt(ctx context.Context) (m *Meeting, final bool, err error) {
	addrs, err := c.cfg.addrPorts(ctx)
	if err != nil {
		return nil, isBadAddress(err), c.addressFault(err)
	}
	var errs []error
	for _, p := range addrs {
		raw, err := c.dial(ctx, p.String())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		return c.call(ctx, raw)
	}
	return nil, false, errors.Join(errs...)
}

// addressFault returns an error about rank 0's address as this rank's own.
func (c *client) addressFault(err error) error {
	if isBadAddress(err) {
		return &transport.Error{Rank: c.cfg.Rank, Op: opName, Err: err}
	}
	return err
}

func (c *client) dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := c.cfg.Net.Dial(ctx, addr)
	if err == nil && raw.LocalAddr().String() == raw.RemoteAddr().String() {
		_ = raw.Close()
		return nil, errSelf
	}
	if err == nil {
		watchMachine(raw)
	}
	return raw, err
}

// call joins the meeting over the connection raw, which it closes unless that succeeds.
func (c *client) call(ctx context.Context, raw net.Conn) (m *Meeting, final bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = raw.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		stop()
		if m == nil {
			_ = raw.Close()
		}
	}()
	// Other connections may take rank 0's time. A rank that gave up and tried again would leave a
	// connection behind that looks like a member, so it does not try again before this one ends.
	conn, err := c.guard.Open(raw, 0, secure.Session{})
	if err != nil {
		return c.noAnswer(err)
	}
	c.mine.left = time.Until(c.until)
	_ = raw.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	if err := writeMessage(conn, kindHello, c.cfg.Job, c.mine.encode()); err != nil {
		return nil, false, err
	}
	p, err := readMessage(conn, maxBodyBytes)
	if err != nil {
		return c.noAnswer(err)
	}
	if err := c.checkAnswer(&p); err != nil {
		return nil, !errors.Is(err, errNotRendezvous), err
	}
	c.lost = time.Time{}
	return c.await(ctx, conn, stop)
}

// noAnswer is the result of an attempt that got no answer of this protocol.
func (c *client) noAnswer(err error) (*Meeting, bool, error) {
	if errors.Is(err, secure.ErrUnauthenticated) {
		return nil, true, &transport.Error{Rank: 0, Op: opName, Err: fmt.Errorf("%s: %w", c.cfg.Addr, err)}
	}
	return nil, false, fmt.Errorf("connected to %s, which did not answer as rank 0: %w", c.cfg.Addr, err)
}

// checkAnswer checks rank 0's first answer.
func (c *client) checkAnswer(p *message) error {
	mismatch := func(format string, args ...any) error {
		return &transport.Error{Rank: 0, Op: opName, Err: fmt.Errorf(format+": %w", append(args, transport.ErrMismatch)...)}
	}
	if p.version != wireVersion {
		return mismatch("protocol version: rank %d has %d, rank 0 has %d", c.cfg.Rank, wireVersion, p.version)
	}
	if p.kind == kindRefusal {
		return c.refused(p.body)
	}
	if p.job != sha256.Sum256([]byte(c.cfg.Job)) {
		return mismatch("job: rank %d belongs to %q, rank 0 at %s to another", c.cfg.Rank, c.cfg.Job, c.cfg.Addr)
	}
	if p.kind != kindWelcome {
		return fmt.Errorf("%w: kind %d", errNotRendezvous, p.kind)
	}
	theirs, err := decodeClaim(p.body)
	if err != nil {
		return err
	}
	if d := disagreement(&c.mine, &theirs); d != "" {
		return mismatch("%s", d)
	}
	return nil
}

// refused returns the error that a refusal states.
func (c *client) refused(body []byte) error {
	f, err := decodeRefusal(body)
	if err != nil {
		return err
	}
	err = f.err()
	if f.code == refuseMissing {
		err = c.cfg.dated(c.parent, c.begin, err)
	}
	return err
}

// await waits, once accepted, for the table or a refusal. After stop, the end of ctx does not end
// the connection.
func (c *client) await(ctx context.Context, conn net.Conn, stop func() bool) (m *Meeting, final bool, err error) {
	for {
		p, err := readMessage(conn, max(maxBodyBytes, maxTableBytes(c.cfg.Size)))
		switch {
		case err != nil && ctx.Err() != nil:
			c.leave(conn)
			return nil, true, c.giveUp(err)
		case errors.Is(err, transport.ErrCorrupt):
			err = &transport.Error{Rank: 0, Op: opName, Err: err}
			c.report(conn, refusalOf(err))
			return nil, true, err
		case err != nil:
			c.lost = time.Now()
			return nil, false, fmt.Errorf("rank 0 left: %w", err)
		case p.kind == kindRefusal:
			return nil, true, c.refused(p.body)
		case p.kind == kindMissing:
			f, err := decodeRefusal(p.body)
			if err != nil {
				return nil, false, err
			}
			c.missing = &f
		case p.kind == kindTable:
			t, left, err := decodeTable(p.body, c.cfg.Size)
			if err != nil {
				return nil, false, err
			}
			stop()
			return newMemberMeeting(c, conn, t, left), true, nil
		default:
			return nil, false, fmt.Errorf("%w: kind %d", errNotRendezvous, p.kind)
		}
	}
}

// leave reports to rank 0 that this rank stops waiting.
func (c *client) leave(conn net.Conn) {
	if errors.Is(c.parent.Err(), context.Canceled) {
		c.report(conn, c.cancelled())
		return
	}
	c.report(conn, &refusal{refuseMissing, transport.Rank(c.cfg.Rank), "its time is up"})
}

// cancelled is the report of a rank whose caller has cancelled.
func (c *client) cancelled() *refusal {
	return &refusal{refuseLeft, c.cfg.Rank, fmt.Sprintf("rank %d has given up: %v", c.cfg.Rank, context.Cause(c.parent))}
}

func (c *client) report(conn net.Conn, f *refusal) {
	_ = conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	_ = writeMessage(conn, kindReport, c.cfg.Job, f.encode())
}
