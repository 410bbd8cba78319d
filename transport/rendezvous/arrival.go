package rendezvous

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/switchyard-moe/switchyard/transport/secure"
)

// event is what a reader sends to the deciding goroutine: a message, or that a member has left.
type event struct {
	conn    net.Conn
	peer    secure.Peer
	message message
	claim   claim
	retry   bool     // the claim has waited for the end of an earlier one
	left    *member  // the member that has left, or has reported
	rank    uint32   // of left
	why     error    // the error that ended its connection
	report  *refusal // what it has reported
	short   error    // rank 0 cannot accept connections for lack of a resource
	gone    *member  // one that has left and has not come back in time
	secured string   // a rank of this job uses a security that rank 0 does not
	refused string   // a peer that did not authenticate itself
}

// read authenticates a pending connection and reads its hello.
func (s *server) read(p *secure.Pending) (func(), error) {
	watchMachine(p.Conn)
	conn, peer, err := s.guard.Admit(p.Conn, secure.Session{})
	if err != nil {
		return nil, err
	}
	e := event{conn: conn, peer: peer}
	if e.message, err = s.readHello(conn); err != nil {
		var other *otherSecurity
		if !errors.As(err, &other) {
			return nil, err
		}
		e.secured = err.Error()
	} else if e.message.version == wireVersion {
		if e.message.kind != kindHello {
			return nil, fmt.Errorf("%w: kind %d", errNotRendezvous, e.message.kind)
		}
		if e.claim, err = decodeClaim(e.message.body); err != nil {
			return nil, err
		}
	}
	return func() { s.report(e) }, p.Identified()
}

// otherSecurity: a rank of this job uses a security that rank 0 does not.
type otherSecurity struct{ error }

// readHello reads the first message. Without security, it recognizes ranks that have some and sends
// them a notice.
func (s *server) readHello(conn net.Conn) (message, error) {
	var b [headBytes]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return message{}, err
	}
	if ours, err := s.guard.Reject(conn, b[:]); err != nil {
		if ours {
			return message{}, &otherSecurity{err}
		}
		return message{}, err
	}
	return readRest(conn, b[:], maxBodyBytes)
}

// drop logs a connection that was not a rank of this job.
func (s *server) drop(conn net.Conn, err error) {
	s.cfg.Log.Info("connection dropped", "from", conn.RemoteAddr(), "err", err)
	if errors.Is(err, secure.ErrUnauthenticated) {
		s.report(event{refused: fmt.Sprintf("%s: %.300s", conn.RemoteAddr(), err.Error())})
	}
}

// short ends the meeting when rank 0 cannot accept connections.
func (s *server) short(err error) { s.report(event{short: err}) }

// report sends e to the deciding goroutine, or drops it when the meeting is over.
func (s *server) report(e event) {
	select {
	case s.events <- e:
	case <-s.ctx.Done():
		if e.conn != nil {
			_ = e.conn.Close()
		}
	}
}
