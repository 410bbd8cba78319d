package secure

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/switchyard-moe/switchyard/transport"
)

// A rank that is spoken to in another manner than its own answers with a notice and closes, so that
// both sides know at once what is wrong. It is not authenticated; whoever can send one can also cut
// the connection. It is as long as any first answer, so that nobody waits for the rest of one:
//
//	0  uint32 magic "SWYX"
//	4  uint8  why
//	5  zeros up to 80
const (
	noticeMagic = 0x53575958
	noticeBytes = 80
	// maxDrain is what is read of a peer that was answered, so that its bytes do not reset the
	// connection before it has read the answer. A TLS hello has less than 2 KiB.
	maxDrain = 3 << 10
)

// notice says why a connection is refused.
type notice byte

const (
	wantsPlain notice = iota + 1
	wantsTLS
	wantsSecret
	wrongProof
	wrongJob
	wrongSession
	wrongVersion
)

func noticeOf(m mode) notice { return notice(m) }

// err is the notice as its receiver states it.
func (n notice) err() error {
	switch n {
	case wantsPlain, wantsTLS, wantsSecret:
		return fmt.Errorf("%w: the peer is set to %v, this rank is not: %w", ErrUnauthenticated, mode(n), transport.ErrMismatch)
	case wrongProof:
		return fmt.Errorf("%w: the peer holds another secret", ErrUnauthenticated)
	case wrongJob:
		return fmt.Errorf("%w: the peer belongs to another job: %w", ErrUnauthenticated, transport.ErrMismatch)
	case wrongSession:
		return fmt.Errorf("%w: the peer expects another rank or session: %w", ErrUnauthenticated, transport.ErrMismatch)
	case wrongVersion:
		return fmt.Errorf("%w: the peer speaks another version: %w", ErrUnauthenticated, transport.ErrMismatch)
	}
	return fmt.Errorf("%w: the peer refuses for reason %d", ErrUnauthenticated, byte(n))
}

// ReadNotice returns what the first bytes of an answer say if they are a refusal by a rank that is
// set to another security, and nil if they are not. Five bytes are enough.
func ReadNotice(answer []byte) error {
	if len(answer) < 5 || binary.BigEndian.Uint32(answer) != noticeMagic {
		return nil
	}
	return notice(answer[4]).err()
}

// TurnAway is for a rank without security that has read first from a connection and does not know
// it. If that is how a rank with security begins, it is told, and err says what came; sameJob then
// reports whether it names this job. Otherwise err is nil.
func (g *Guard) TurnAway(conn net.Conn, first []byte) (sameJob bool, err error) {
	came, ok := modeOf(first)
	if !ok || came == plain || g.mode != plain {
		return false, nil
	}
	sendNotice(conn, wantsPlain)
	said := make([]byte, len(first)+maxDrain)
	n := copy(said, first)
	said = said[:n+drain(conn, said[n:])]
	sameJob = bytes.Contains(said, g.tag[:]) || bytes.Contains(said, []byte(jobProtocol(g.tag[:])))
	return sameJob, mismatched(came, plain)
}

// turnAway tells a peer that came in another manner.
func turnAway(conn net.Conn, came mode, n notice) error {
	sendNotice(conn, n)
	drain(conn, make([]byte, maxDrain))
	return mismatched(came, mode(n))
}

func mismatched(came, here mode) error {
	return fmt.Errorf("%w: the peer comes with %v, this rank is set to %v: %w", ErrUnauthenticated, came, here, transport.ErrMismatch)
}

func sendNotice(w io.Writer, n notice) {
	b := make([]byte, noticeBytes)
	binary.BigEndian.PutUint32(b, noticeMagic)
	b[4] = byte(n)
	_, _ = w.Write(b)
}

// drain ends the sending direction and reads what the peer still sends, until b is full or conn's
// deadline has passed.
func drain(conn net.Conn, b []byte) int {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	n, _ := io.ReadFull(conn, b)
	return n
}

// Magic numbers of the openings of package rendezvous and package tcp, which stand for no security.
const (
	plainMeeting = 0x53575952
	plainLane    = 0x53575948
)

// modeOf tells from its first bytes in which manner a connection is opened.
func modeOf(first []byte) (mode, bool) {
	if len(first) < 4 {
		return 0, false
	}
	switch m := binary.BigEndian.Uint32(first); {
	case m == plainMeeting || m == plainLane:
		return plain, true
	case m == openingMagic:
		return bySecret, true
	case m>>16 == 0x1603: // a TLS record that holds a handshake
		return byTLS, true
	}
	return 0, false
}
