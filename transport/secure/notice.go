package secure

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/switchyard-moe/switchyard/transport"
)

// A rank whose peer uses another kind of security answers with a notice and closes, so that both
// sides know at once what is wrong. It is not authenticated: an attacker who can send one can also
// cut the connection. It is as long as any first answer, so that no peer waits for the rest of one:
//
//	0  uint32 magic "SWYX"
//	4  uint8  why
//	5  zeros up to 80
const (
	noticeMagic = 0x53575958
	noticeBytes = 80
	// maxDrain bounds what is read from a peer after a notice, so that its unread bytes do not
	// reset the connection before it has read the notice. A TLS hello has less than 2 KiB.
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

// err is the error of a rank that receives the notice.
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

// ReadNotice returns the error that the first bytes of an answer stand for if they are a notice, a
// refusal by a rank with other security, and otherwise nil. Five bytes are enough.
func ReadNotice(answer []byte) error {
	if len(answer) < 5 || binary.BigEndian.Uint32(answer) != noticeMagic {
		return nil
	}
	return notice(answer[4]).err()
}

// Reject is for a rank without security that has read the bytes first, which it does not expect,
// from a connection. If a rank with security begins with such bytes, that peer gets a notice, and
// err says which security it uses; sameJob then reports whether it names this job. Otherwise err is
// nil.
func (g *Guard) Reject(conn net.Conn, first []byte) (sameJob bool, err error) {
	theirs, ok := modeOf(first)
	if !ok || theirs == plain || g.mode != plain {
		return false, nil
	}
	sendNotice(conn, wantsPlain)
	read := make([]byte, len(first)+maxDrain)
	n := copy(read, first)
	read = read[:n+drain(conn, read[n:])]
	sameJob = bytes.Contains(read, g.tag[:]) || bytes.Contains(read, []byte(jobProtocol(g.tag[:])))
	return sameJob, mismatched(theirs, plain)
}

// reject sends notice n to a peer that uses another kind of security.
func reject(conn net.Conn, theirs mode, n notice) error {
	sendNotice(conn, n)
	drain(conn, make([]byte, maxDrain))
	return mismatched(theirs, mode(n))
}

func mismatched(theirs, here mode) error {
	return fmt.Errorf("%w: the peer comes with %v, this rank is set to %v: %w", ErrUnauthenticated, theirs, here, transport.ErrMismatch)
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

// Magic numbers of package rendezvous and package tcp, with which connections without security
// begin.
const (
	plainMeeting = 0x53575952
	plainStream  = 0x53575948
)

// modeOf returns the security of the peer that has opened a connection with the bytes first.
func modeOf(first []byte) (mode, bool) {
	if len(first) < 4 {
		return 0, false
	}
	switch m := binary.BigEndian.Uint32(first); {
	case m == plainMeeting || m == plainStream:
		return plain, true
	case m == openingMagic:
		return bySecret, true
	case m>>16 == 0x1603: // a TLS record that holds a handshake
		return byTLS, true
	}
	return 0, false
}
