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

// errSelf: where nobody listens, a connection from a port of the system's choice can meet itself.
// It must be dropped at once, because it keeps rank 0 from listening there.
var errSelf = errors.New("nobody listens: the connection met itself")

// visitor is the side of every rank but 0.
type visitor struct {
	cfg    Config
	mine   claim
	guard  *secure.Guard
	parent context.Context // the caller's
	begin  time.Time
	until  time.Time // when this rank's time is up

	missing *refusal  // whom rank 0 last said to be waiting for
	lost    time.Time // when rank 0, which had accepted this rank, was found to be gone
}

// visit comes to rank 0, again and again until it is heard or time is up.
func (v *visitor) visit() (*Meeting, error) {
	ctx, cancel := context.WithDeadline(v.parent, v.until.Add(verdictGrace))
	defer cancel()
	var last error
	var wanting shortage.Watch
	for pause := retryFirst; last == nil || time.Now().Before(v.until); pause = min(2*pause, retryMost) {
		m, final, err := v.attempt(ctx)
		if final {
			return m, err
		}
		if last == nil || ctx.Err() == nil { // else it was cut short, and the one before says more
			last = err
		}
		if wanting.Lasts(err) {
			return nil, &transport.Error{Rank: v.cfg.Rank, Op: opName, Err: fmt.Errorf("cannot come to rank 0 at %s: %w", v.cfg.Addr, err)}
		}
		if !v.lost.IsZero() && time.Since(v.lost) > returnGrace {
			return nil, &transport.Error{Rank: 0, Op: opName,
				Err: fmt.Errorf("rank 0 at %s: %w while ranks met: %w", v.cfg.Addr, transport.ErrPeerDead, last)}
		}
		if !sleep(ctx, pause) {
			break
		}
	}
	return nil, v.giveUp(last)
}

// giveUp is the error of a rank whose time is up, or whose caller has cancelled: whom rank 0 has
// been waiting for, or that rank 0 did not answer.
func (v *visitor) giveUp(last error) error {
	if v.missing == nil {
		return &transport.Error{Rank: 0, Op: opName, Err: v.cfg.expired(v.parent, v.begin, "no answer at "+v.cfg.Addr, last)}
	}
	cause := error(transport.ErrTimeout)
	if errors.Is(v.parent.Err(), context.Canceled) {
		cause = v.parent.Err()
	}
	err := fmt.Errorf("%s (as rank 0 last said; this rank waited %v): %w",
		printable.Text(v.missing.text, maxBodyBytes), time.Since(v.begin).Round(time.Millisecond), cause)
	if cause == transport.ErrTimeout {
		err = v.cfg.dated(v.parent, v.begin, err)
	}
	return &transport.Error{Rank: v.missing.rank, Op: opName, Err: err}
}

// attempt comes to rank 0 once, at each of its addresses. final reports that there is no point in
// coming again.
func (v *visitor) attempt(ctx context.Context) (m *Meeting, final bool, err error) {
	places, err := v.cfg.places(ctx)
	if err != nil {
		return nil, isBadAddress(err), v.named(err)
	}
	var errs []error
	for _, p := range places {
		raw, err := v.dial(ctx, p.String())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		return v.call(ctx, raw)
	}
	return nil, false, errors.Join(errs...)
}

// named states what is wrong with rank 0's address.
func (v *visitor) named(err error) error {
	if isBadAddress(err) {
		return &transport.Error{Rank: v.cfg.Rank, Op: opName, Err: err}
	}
	return err
}

func (v *visitor) dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakePatience)
	defer cancel()
	raw, err := v.cfg.Net.Dial(ctx, addr)
	if err == nil && raw.LocalAddr().String() == raw.RemoteAddr().String() {
		_ = raw.Close()
		return nil, errSelf
	}
	if err == nil {
		watchMachine(raw)
	}
	return raw, err
}

// call speaks with whoever answers, on a connection that it closes unless a meeting comes of it.
func (v *visitor) call(ctx context.Context, raw net.Conn) (m *Meeting, final bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = raw.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		stop()
		if m == nil {
			_ = raw.Close()
		}
	}()
	// Strangers in front of us may take rank 0's time. Whoever gives up and comes again leaves a
	// connection behind that looks like a guest, so there is no coming again before this one ends.
	conn, err := v.guard.Open(raw, 0, secure.Session{})
	if err != nil {
		return v.unheard(err)
	}
	v.mine.left = time.Until(v.until)
	_ = raw.SetWriteDeadline(time.Now().Add(handshakePatience))
	if err := writeParcel(conn, kindHello, v.cfg.Job, v.mine.encode()); err != nil {
		return nil, false, err
	}
	p, err := readParcel(conn, maxBodyBytes)
	if err != nil {
		return v.unheard(err)
	}
	if err := v.judge(&p); err != nil {
		return nil, !errors.Is(err, errStranger), err
	}
	v.lost = time.Time{}
	return v.await(ctx, conn, stop)
}

// unheard is how an attempt ends that got no answer in this protocol.
func (v *visitor) unheard(err error) (*Meeting, bool, error) {
	if errors.Is(err, secure.ErrUnauthenticated) {
		return nil, true, &transport.Error{Rank: 0, Op: opName, Err: fmt.Errorf("%s: %w", v.cfg.Addr, err)}
	}
	return nil, false, fmt.Errorf("connected to %s, which did not answer as rank 0: %w", v.cfg.Addr, err)
}

// judge checks rank 0's first answer.
func (v *visitor) judge(p *parcel) error {
	mismatch := func(format string, args ...any) error {
		return &transport.Error{Rank: 0, Op: opName, Err: fmt.Errorf(format+": %w", append(args, transport.ErrMismatch)...)}
	}
	if p.version != wireVersion {
		return mismatch("protocol version: rank %d has %d, rank 0 has %d", v.cfg.Rank, wireVersion, p.version)
	}
	if p.kind == kindRefusal {
		return v.refused(p.body)
	}
	if p.job != sha256.Sum256([]byte(v.cfg.Job)) {
		return mismatch("job: rank %d belongs to %q, rank 0 at %s to another", v.cfg.Rank, v.cfg.Job, v.cfg.Addr)
	}
	if p.kind != kindWelcome {
		return fmt.Errorf("%w: kind %d", errStranger, p.kind)
	}
	theirs, err := decodeClaim(p.body)
	if err != nil {
		return err
	}
	if d := disagreement(&v.mine, &theirs); d != "" {
		return mismatch("%s", d)
	}
	return nil
}

// refused is the error that a refusal states.
func (v *visitor) refused(body []byte) error {
	f, err := decodeRefusal(body)
	if err != nil {
		return err
	}
	err = f.err()
	if f.code == refuseMissing {
		err = v.cfg.dated(v.parent, v.begin, err)
	}
	return err
}

// await waits, accepted, for the table or a verdict. stop keeps the end of ctx from ending the
// connection.
func (v *visitor) await(ctx context.Context, conn net.Conn, stop func() bool) (m *Meeting, final bool, err error) {
	for {
		p, err := readParcel(conn, max(maxBodyBytes, maxTableBytes(v.cfg.Size)))
		switch {
		case err != nil && ctx.Err() != nil:
			v.leave(conn)
			return nil, true, v.giveUp(err)
		case errors.Is(err, transport.ErrCorrupt):
			err = &transport.Error{Rank: 0, Op: opName, Err: err}
			v.report(conn, refusalOf(err))
			return nil, true, err
		case err != nil:
			v.lost = time.Now()
			return nil, false, fmt.Errorf("rank 0 left: %w", err)
		case p.kind == kindRefusal:
			return nil, true, v.refused(p.body)
		case p.kind == kindMissing:
			f, err := decodeRefusal(p.body)
			if err != nil {
				return nil, false, err
			}
			v.missing = &f
		case p.kind == kindTable:
			t, left, err := decodeTable(p.body, v.cfg.Size)
			if err != nil {
				return nil, false, err
			}
			stop()
			return newStay(v, conn, t, left), true, nil
		default:
			return nil, false, fmt.Errorf("%w: kind %d", errStranger, p.kind)
		}
	}
}

// leave tells rank 0 that this rank does not wait any longer.
func (v *visitor) leave(conn net.Conn) {
	if errors.Is(v.parent.Err(), context.Canceled) {
		v.report(conn, v.cancelled())
		return
	}
	v.report(conn, &refusal{refuseMissing, transport.Rank(v.cfg.Rank), "its time is up"})
}

// cancelled is what a rank says whose caller has given up.
func (v *visitor) cancelled() *refusal {
	return &refusal{refuseLeft, v.cfg.Rank, fmt.Sprintf("rank %d has given up: %v", v.cfg.Rank, context.Cause(v.parent))}
}

func (v *visitor) report(conn net.Conn, f *refusal) {
	_ = conn.SetWriteDeadline(time.Now().Add(handshakePatience))
	_ = writeParcel(conn, kindReport, v.cfg.Job, f.encode())
}
