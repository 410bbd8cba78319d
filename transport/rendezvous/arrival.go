package rendezvous

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/switchyard-moe/switchyard/transport/secure"
)

// event is what the readers report: a parcel that came, or that a guest has left.
type event struct {
	conn    net.Conn
	peer    secure.Peer
	parcel  parcel
	claim   claim
	retry   bool     // the claim has waited for an earlier one to be found gone
	left    *guest   // who has left, or has reported
	rank    uint32   // of left
	why     error    // what its connection ended with
	report  *refusal // what it has reported
	short   error    // rank 0 has been short of something for too long to accept connections
	gone    *guest   // one that has left and had the time to come back
	secured string   // a rank of this job that asks for a security which rank 0 does not have
	refused string   // somebody who did not prove who they are
}

// read takes a stranger's hello.
func (h *host) read(s *secure.Pending) (func(), error) {
	watchMachine(s.Conn)
	conn, peer, err := h.guard.Admit(s.Conn, secure.Session{})
	if err != nil {
		return nil, err
	}
	e := event{conn: conn, peer: peer}
	if e.parcel, err = h.readHello(conn); err != nil {
		var other *otherSecurity
		if !errors.As(err, &other) {
			return nil, err
		}
		e.secured = err.Error()
	} else if e.parcel.version == wireVersion {
		if e.parcel.kind != kindHello {
			return nil, fmt.Errorf("%w: kind %d", errStranger, e.parcel.kind)
		}
		if e.claim, err = decodeClaim(e.parcel.body); err != nil {
			return nil, err
		}
	}
	return func() { h.report(e) }, s.Identified()
}

// otherSecurity: a rank of this job asks for a security that rank 0 does not have.
type otherSecurity struct{ error }

// readHello reads the first parcel. Where there is no security, ranks that have some are recognised
// and told.
func (h *host) readHello(conn net.Conn) (parcel, error) {
	var b [headBytes]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return parcel{}, err
	}
	if ours, err := h.guard.Reject(conn, b[:]); err != nil {
		if ours {
			return parcel{}, &otherSecurity{err}
		}
		return parcel{}, err
	}
	return readRest(conn, b[:], maxBodyBytes)
}

// drop notes who was no rank of this job.
func (h *host) drop(conn net.Conn, err error) {
	h.cfg.Log.Info("stranger dropped", "from", conn.RemoteAddr(), "err", err)
	if errors.Is(err, secure.ErrUnauthenticated) {
		h.report(event{refused: fmt.Sprintf("%s: %.300s", conn.RemoteAddr(), err.Error())})
	}
}

// short ends the meeting when rank 0 cannot accept connections.
func (h *host) short(err error) { h.report(event{short: err}) }

// report hands e to the goroutine that decides, or drops it when the meeting is over.
func (h *host) report(e event) {
	select {
	case h.events <- e:
	case <-h.ctx.Done():
		if e.conn != nil {
			_ = e.conn.Close()
		}
	}
}
