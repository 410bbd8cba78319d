package rendezvous

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// Every message is a head of fixed size, a body and a checksum. Big-endian:
//
//	 0  uint32   magic "SWYR"
//	 4  uint16   version
//	 6  uint16   kind
//	 8  32 bytes SHA-256 of the job's name, in every version, so that another job's connection
//	            is recognized first
//	40  uint32   length of the body
//	44           the body
//	    uint32   CRC-32C of head and body
//
// The head is that of every version. The length is checked against the limit of the kind before
// anything is allocated.
const (
	wireMagic   = 0x53575952
	wireVersion = 2
	headBytes   = 44
	sumBytes    = 4
	// maxBodyBytes bounds what is read from a connection that has not identified itself.
	maxBodyBytes = 4<<10 - headBytes - sumBytes
)

type wireKind uint16

const (
	kindHello   wireKind = 1 // the sender's claim
	kindWelcome wireKind = 2 // the same from rank 0: the rank is accepted
	kindTable   wireKind = 3 // every rank's address, and the time left to open connections
	kindRefusal wireKind = 4 // why the rank, or the whole job, cannot go on
	kindMissing wireKind = 5 // the ranks that rank 0 still waits for, encoded as a refusal
	kindReport  wireKind = 6 // a member's connections are open, or why it leaves, as a refusal
	kindGo      wireKind = 7 // every rank has opened its connections
)

// errNotRendezvous: the peer does not speak this protocol.
var errNotRendezvous = errors.New("not a switchyard rendezvous")

type head struct {
	version uint16
	kind    wireKind
	job     [sha256.Size]byte
	length  uint32
}

// message is a message as read: its head, and its body if the version is ours.
type message struct {
	head
	body []byte
}

func writeMessage(w io.Writer, kind wireKind, job string, body []byte) error {
	b := make([]byte, headBytes, headBytes+len(body)+sumBytes)
	binary.BigEndian.PutUint32(b, wireMagic)
	binary.BigEndian.PutUint16(b[4:], wireVersion)
	binary.BigEndian.PutUint16(b[6:], uint16(kind))
	sum := sha256.Sum256([]byte(job))
	copy(b[8:], sum[:])
	binary.BigEndian.PutUint32(b[40:], uint32(len(body)))
	b = append(b, body...)
	_, err := w.Write(binary.BigEndian.AppendUint32(b, crc32c.Update(0, b)))
	return err
}

// readMessage reads one message whose body has at most limit bytes.
func readMessage(r io.Reader, limit int) (message, error) {
	var b [headBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return message{}, err
	}
	return readRest(r, b[:], limit)
}

// readRest reads the message that begins with head.
func readRest(r io.Reader, head []byte, limit int) (message, error) {
	h, err := decodeHead(head)
	if err != nil || h.version != wireVersion {
		return message{head: h}, err // the body of another version is not read
	}
	if h.length > uint32(limit) {
		return message{}, fmt.Errorf("%w: body of %d bytes, limit %d", errNotRendezvous, h.length, limit)
	}
	rest := make([]byte, h.length+sumBytes)
	if _, err = io.ReadFull(r, rest); err != nil {
		return message{}, err
	}
	body, sum := rest[:h.length], binary.BigEndian.Uint32(rest[h.length:])
	if own := crc32c.Update(crc32c.Update(0, head), body); own != sum {
		return message{}, fmt.Errorf("rendezvous message of %d bytes sums to %#08x, states %#08x: %w", h.length, own, sum, transport.ErrCorrupt)
	}
	return message{head: h, body: body}, nil
}

func decodeHead(b []byte) (head, error) {
	if m := binary.BigEndian.Uint32(b); m != wireMagic {
		if refused := secure.ReadNotice(b); refused != nil {
			return head{}, refused
		}
		return head{}, fmt.Errorf("%w: magic %#08x", errNotRendezvous, m)
	}
	h := head{
		version: binary.BigEndian.Uint16(b[4:]),
		kind:    wireKind(binary.BigEndian.Uint16(b[6:])),
		length:  binary.BigEndian.Uint32(b[40:]),
	}
	copy(h.job[:], b[8:])
	return h, nil
}

// claim is the body of a hello and of a welcome.
type claim struct {
	size   uint32
	rank   uint32
	digest [sha256.Size]byte
	job    string
	listen string
	text   string // the settings
	// agent and restart identify the start of the process; see Config.
	agent   string
	restart uint32
	left    time.Duration // how long the sender still waits
}

func (c *claim) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, c.size)
	b = binary.BigEndian.AppendUint32(b, c.rank)
	b = append(b, c.digest[:]...)
	b = binary.BigEndian.AppendUint32(b, c.restart)
	b = appendMillis(b, c.left)
	for _, s := range []string{c.job, c.listen, c.text, c.agent} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	return b
}

func decodeClaim(b []byte) (claim, error) {
	r := reader{b: b}
	c := claim{size: r.uint32(), rank: r.uint32()}
	copy(c.digest[:], r.bytes(sha256.Size))
	c.restart, c.left = r.uint32(), r.millis()
	c.job, c.listen, c.text = r.text(maxJobBytes), r.address(), r.text(maxSettingsBytes)
	c.agent = r.text(maxJobBytes)
	return c, r.end()
}

// A duration is written in whole milliseconds, at most 24 days.
const maxMillis = math.MaxInt32

func appendMillis(b []byte, d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(max(0, min(d.Milliseconds(), maxMillis))))
}

func (r *reader) millis() time.Duration {
	n := r.uint32()
	r.broken = r.broken || n > maxMillis
	return time.Duration(n) * time.Millisecond
}

// refusal is the body of a refusal: the rank to blame, a code and a text.
type refusal struct {
	code uint16
	rank transport.Rank
	text string
}

const (
	refuseNothing   uint16 = 0 // of a report: success
	refuseMismatch  uint16 = 1
	refuseDuplicate uint16 = 2
	refuseMissing   uint16 = 3
	refuseDead      uint16 = 4 // a rank's connection ended without a report
	refuseLeft      uint16 = 5 // a rank has given up
	refuseCorrupt   uint16 = 6
	refuseFailed    uint16 = 7 // a rank could not open its connections
	refuseUnknown   uint16 = 8 // a rank is not authenticated
)

// causes are the errors that the codes of refusals stand for. An error has the code of the first
// that it wraps.
var causes = []struct {
	code uint16
	err  error
}{
	{refuseDuplicate, transport.ErrDuplicateRank}, {refuseMismatch, transport.ErrMismatch},
	{refuseUnknown, secure.ErrUnauthenticated}, {refuseCorrupt, transport.ErrCorrupt},
	{refuseMissing, transport.ErrTimeout}, {refuseDead, transport.ErrPeerDead}, {refuseLeft, transport.ErrPeerClosed},
}

// refusalOf returns err as a refusal, for another rank.
func refusalOf(err error) *refusal {
	f := &refusal{code: refuseFailed, rank: transport.CulpritOf(err)}
	for _, c := range causes {
		if errors.Is(err, c.err) {
			f.code = c.code
			break
		}
	}
	var e *transport.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	f.text = err.Error()
	return f
}

func (f *refusal) encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, f.code)
	b = binary.BigEndian.AppendUint32(b, uint32(int32(f.rank)))
	text := printable.Text(f.text, maxBodyBytes/2)
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

func decodeRefusal(b []byte) (refusal, error) {
	r := reader{b: b}
	f := refusal{code: r.uint16(), rank: transport.Rank(int32(r.uint32()))}
	f.text = r.text(maxBodyBytes)
	return f, r.end()
}

// err returns the refusal as an error.
func (f *refusal) err() error {
	err := errors.New(printable.Text(f.text, maxBodyBytes))
	for _, c := range causes {
		if c.code == f.code {
			err = withCause(err, c.err)
		}
	}
	return &transport.Error{Rank: f.rank, Op: opName, Err: err}
}

// withCause returns err such that it wraps cause. The text of cause is not repeated.
func withCause(err, cause error) error {
	if errors.Is(err, cause) {
		return err
	}
	if strings.HasSuffix(err.Error(), cause.Error()) {
		return &caused{err, cause}
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// caused is an error whose text contains that of its cause.
type caused struct {
	error
	cause error
}

func (c *caused) Unwrap() []error { return []error{c.error, c.cause} }

// encode encodes t, and the time left for opening connections.
func (t *Table) encode(left time.Duration) []byte {
	b := appendMillis(append([]byte(nil), t.Session[:]...), left)
	for _, a := range t.Addrs {
		b = binary.BigEndian.AppendUint16(b, uint16(len(a)))
		b = append(b, a...)
	}
	return b
}

// maxTableBytes bounds the table of a job of size ranks.
func maxTableBytes(size int) int { return len(Table{}.Session) + 4 + size*(2+maxAddrBytes) }

func decodeTable(b []byte, size int) (t Table, left time.Duration, err error) {
	r := reader{b: b}
	copy(t.Session[:], r.bytes(len(t.Session)))
	left = r.millis()
	for range size {
		t.Addrs = append(t.Addrs, r.address())
	}
	return t, left, r.end()
}

// reader decodes a body; after the first fault it returns zeros, and end reports the fault.
type reader struct {
	b      []byte
	broken bool
}

func (r *reader) bytes(n int) []byte {
	if r.broken || n > len(r.b) {
		r.broken = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) text(limit int) string {
	n := int(r.uint16())
	if n > limit {
		r.broken = true
	}
	return string(r.bytes(n))
}

// address is where a rank listens. It appears in the errors of ranks that dial it, so it must be
// printable.
func (r *reader) address() string {
	s := r.text(maxAddrBytes)
	if printable.Text(s, maxAddrBytes) != s {
		r.broken = true
	}
	return s
}

func (r *reader) end() error {
	if r.broken || len(r.b) > 0 {
		return fmt.Errorf("%w: body does not parse, %d bytes left", errNotRendezvous, len(r.b))
	}
	return nil
}
