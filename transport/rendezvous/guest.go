package rendezvous

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// errSelf: where nobody listens, a connection from a port of the system's choice can meet itself. It must be
// dropped at once, because it keeps rank 0 from listening there.
var errSelf = errors.New("nobody listens: the connection met itself")

// visitor is the side of every rank but 0.
type visitor struct {
	cfg   Config
	mine  claim
	guard *secure.Guard
}

// visit comes to rank 0, again and again until it is heard or time is up.
func (v *visitor) visit(parent context.Context) (Table, error) {
	cfg := &v.cfg
	deadline := time.Now().Add(cfg.Timeout)
	ctx, cancel := context.WithDeadline(parent, deadline.Add(verdictGrace))
	defer cancel()
	var last error
	for pause := retryFirst; time.Now().Before(deadline); pause = min(2*pause, retryMost) {
		t, final, err := v.attempt(ctx)
		if final {
			return t, err
		}
		last = err
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		if parent.Err() != nil {
			return Table{}, &transport.Error{Rank: 0, Op: opName, Err: fmt.Errorf("%w; last attempt: %w", parent.Err(), last)}
		}
	}
	return Table{}, &transport.Error{Rank: 0, Op: opName,
		Err: fmt.Errorf("no answer at %s within %v: %w; last attempt: %w", cfg.Addr, cfg.Timeout, transport.ErrTimeout, last)}
}

// attempt comes to rank 0 once. final reports that there is no point in coming again.
func (v *visitor) attempt(ctx context.Context) (t Table, final bool, err error) {
	dialer := net.Dialer{Timeout: handshakePatience}
	raw, err := dialer.DialContext(ctx, "tcp", v.cfg.Addr)
	if err != nil {
		return Table{}, false, err
	}
	defer raw.Close()
	if raw.LocalAddr().String() == raw.RemoteAddr().String() {
		return Table{}, false, errSelf
	}
	defer interruptible(ctx, raw)()
	// Strangers in front of us may take rank 0's time. Whoever gives up and comes again leaves a connection behind
	// that looks like a guest, so there is no coming again before this one ends.
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return Table{}, false, err
	}
	if err := ctx.Err(); err != nil { // it may have ended just before the deadline was set anew
		return Table{}, false, err
	}
	conn, err := v.guard.Open(raw, 0, secure.Session{})
	if err != nil {
		return v.unheard(err)
	}
	if err := writeParcel(conn, kindHello, v.cfg.Job, v.mine.encode()); err != nil {
		return Table{}, false, err
	}
	p, err := readParcel(conn, maxBodyBytes)
	if err != nil {
		return v.unheard(err)
	}
	if err := v.judge(&p); err != nil {
		return Table{}, !errors.Is(err, errStranger), err
	}
	return v.await(conn)
}

// unheard is how an attempt ends that got no answer in this protocol.
func (v *visitor) unheard(err error) (Table, bool, error) {
	if errors.Is(err, secure.ErrUnauthenticated) {
		return Table{}, true, &transport.Error{Rank: 0, Op: opName, Err: fmt.Errorf("%s: %w", v.cfg.Addr, err)}
	}
	return Table{}, false, err
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

func (v *visitor) refused(body []byte) error {
	f, err := decodeRefusal(body)
	if err != nil {
		return err
	}
	return f.err()
}

// await waits, accepted, for the table or a verdict.
func (v *visitor) await(conn net.Conn) (t Table, final bool, err error) {
	p, err := readParcel(conn, max(maxBodyBytes, maxTableBytes(v.cfg.Size)))
	switch {
	case err != nil:
		return Table{}, false, fmt.Errorf("rank 0 left: %w", err)
	case p.kind == kindRefusal:
		return Table{}, true, v.refused(p.body)
	case p.kind != kindTable:
		return Table{}, false, fmt.Errorf("%w: kind %d", errStranger, p.kind)
	}
	t, err = decodeTable(p.body, v.cfg.Size)
	return t, err == nil, err
}
