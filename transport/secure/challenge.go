package secure

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// Four messages of fixed size. The dialling side proves first, so that a client without the secret
// gets no proof from which to guess it. Big-endian; each begins with
//
//	0  uint32   magic "SWYA"
//	4  uint16   version
//	6  uint16   kind
//
// and goes on
//
//	opening   →  8 uint32 from  12 uint32 to  16 session  32 SHA-256 of the job's name
//	             64 nonce, up to 96
//	challenge ←  8 nonce, up to 40
//	proof     →  8 HMAC-SHA256(secret, "dials" ‖ opening ‖ challenge), up to 40
//	answer    ←  8 HMAC-SHA256(secret, "accepts" ‖ opening ‖ challenge), up to 40
//
// A notice may take the place of the challenge or the answer.
const (
	openingMagic  = 0x53575941
	secretVersion = 1

	openingBytes = 96
	replyBytes   = 40
	nonceBytes   = 32
)

const (
	kindOpening = iota + 1
	kindChallenge
	kindProof
	kindAnswer
)

// The sides prove different things, so neither can be made to prove the other's.
var (
	dials   = []byte("switchyard/1 dials\x00")
	accepts = []byte("switchyard/1 accepts\x00")
)

type opening struct {
	from, to transport.Rank
	session  Session
	job      [sha256.Size]byte
	nonce    [nonceBytes]byte
}

func putHead(b []byte, kind uint16) {
	binary.BigEndian.PutUint32(b, openingMagic)
	binary.BigEndian.PutUint16(b[4:], secretVersion)
	binary.BigEndian.PutUint16(b[6:], kind)
}

func (o *opening) put(b []byte) {
	putHead(b, kindOpening)
	binary.BigEndian.PutUint32(b[8:], uint32(o.from))
	binary.BigEndian.PutUint32(b[12:], uint32(o.to))
	copy(b[16:], o.session[:])
	copy(b[32:], o.job[:])
	copy(b[64:], o.nonce[:])
}

// decodeOpening decodes b, which has openingBytes bytes and the right head.
func decodeOpening(b []byte) opening {
	o := opening{
		from: transport.Rank(binary.BigEndian.Uint32(b[8:])),
		to:   transport.Rank(binary.BigEndian.Uint32(b[12:])),
	}
	copy(o.session[:], b[16:])
	copy(o.job[:], b[32:])
	copy(o.nonce[:], b[64:])
	return o
}

// reply is any message but the opening.
type reply [replyBytes]byte

func newReply(kind uint16, content []byte) *reply {
	var r reply
	putHead(r[:], kind)
	copy(r[8:], content)
	return &r
}

// checkHead reports whether b begins as a message of the kind does.
func checkHead(b []byte, kind uint16) error {
	if refused := ReadNotice(b); refused != nil {
		return refused
	}
	if m := binary.BigEndian.Uint32(b); m != openingMagic {
		return errtext.Errorf("secure: magic %#08x, want %#08x: %w", m, uint32(openingMagic), transport.ErrProtocol)
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != secretVersion {
		return fmt.Errorf("%w: version %d, want %d: %w", ErrUnauthenticated, v, secretVersion, transport.ErrMismatch)
	}
	if k := binary.BigEndian.Uint16(b[6:]); k != kind {
		return errtext.Errorf("secure: message %d, want %d: %w", k, kind, transport.ErrProtocol)
	}
	return nil
}

func readReply(r io.Reader, kind uint16) (*reply, error) {
	var b reply
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, err
	}
	return &b, checkHead(b[:], kind)
}

// prove returns the proof that a side knows the secret and takes part in this exchange.
func prove(secret, side, opening []byte, challenge *reply) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(side)
	h.Write(opening)
	h.Write(challenge[:])
	return h.Sum(nil)
}

func (g *Guard) openSecret(conn net.Conn, to transport.Rank, session Session) error {
	secret, err := g.secret()
	if err != nil {
		return err
	}
	o := opening{from: g.rank, to: to, session: session, job: g.tag}
	_, _ = rand.Read(o.nonce[:]) // never fails
	var first [openingBytes]byte
	o.put(first[:])
	if _, err := conn.Write(first[:]); err != nil {
		return err
	}
	challenge, err := readReply(conn, kindChallenge)
	if err != nil {
		return err
	}
	if _, err := conn.Write(newReply(kindProof, prove(secret, dials, first[:], challenge))[:]); err != nil {
		return err
	}
	answer, err := readReply(conn, kindAnswer)
	if err != nil {
		return err
	}
	if !hmac.Equal(answer[8:], prove(secret, accepts, first[:], challenge)) {
		return fmt.Errorf("%w: rank %d has not proven that it knows the secret", ErrUnauthenticated, to)
	}
	return nil
}

func (g *Guard) admitSecret(conn net.Conn, session Session) (Peer, error) {
	secret, err := g.secret()
	if err != nil {
		return Peer{}, err
	}
	first, o, err := g.readOpening(conn, session)
	if err != nil {
		return Peer{}, err
	}
	var nonce [nonceBytes]byte
	_, _ = rand.Read(nonce[:]) // never fails
	challenge := newReply(kindChallenge, nonce[:])
	if _, err := conn.Write(challenge[:]); err != nil {
		return Peer{}, err
	}
	proof, err := readReply(conn, kindProof)
	if err != nil {
		return Peer{}, err
	}
	if !hmac.Equal(proof[8:], prove(secret, dials, first, challenge)) {
		sendNotice(conn, wrongProof)
		return Peer{}, fmt.Errorf("%w: the peer that claims rank %d has not proven that it knows the secret", ErrUnauthenticated, o.from)
	}
	_, err = conn.Write(newReply(kindAnswer, prove(secret, accepts, first, challenge))[:])
	return Peer{mode: bySecret, ranks: []transport.Rank{o.from}}, err
}

// readOpening reads the opening of a peer, and sends a notice if it cannot be accepted.
func (g *Guard) readOpening(conn net.Conn, session Session) ([]byte, opening, error) {
	first := make([]byte, openingBytes)
	const head = 8
	if _, err := io.ReadFull(conn, first[:head]); err != nil {
		return nil, opening{}, err
	}
	if theirs, ok := modeOf(first); ok && theirs != bySecret {
		return nil, opening{}, reject(conn, theirs, wantsSecret)
	}
	if err := checkHead(first[:head], kindOpening); err != nil {
		if v := binary.BigEndian.Uint16(first[4:]); v != secretVersion && binary.BigEndian.Uint32(first) == openingMagic {
			_ = reject(conn, bySecret, wrongVersion)
		}
		return nil, opening{}, err
	}
	if _, err := io.ReadFull(conn, first[head:]); err != nil {
		return nil, opening{}, err
	}
	o := decodeOpening(first)
	for _, c := range []struct {
		wrong bool
		tell  notice
		what  string
	}{
		{o.job != g.tag, wrongJob, "job"}, {o.to != g.rank, wrongSession, "receiver"}, {o.session != session, wrongSession, "session"},
	} {
		if c.wrong {
			sendNotice(conn, c.tell)
			return nil, opening{}, fmt.Errorf("%w: opening for another %s: %w", ErrUnauthenticated, c.what, transport.ErrMismatch)
		}
	}
	return first, o, nil
}
