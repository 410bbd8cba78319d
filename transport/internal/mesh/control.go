package mesh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/switchyard-moe/switchyard/internal/crc32c"
	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// maxControlPayload bounds what a control frame carries: a reason in words.
	maxControlPayload = 1 << 10
	// controlTimeout bounds the write of one control frame. Control streams are nearly always empty;
	// one that is full belongs to a peer that has not run for a long time. It is far above what a
	// busy machine keeps this process from running between setting the deadline and the write,
	// because that would lose the frame.
	controlTimeout = 500 * time.Millisecond
)

// sendControl writes one frame to p's control stream. A failure is not reported here: the reader of
// the stream sees it too and knows what it means.
func (p *peer) sendControl(kind frameKind, payload []byte) { p.sendTagged(kind, 0, payload) }

func (p *peer) sendTagged(kind frameKind, tag transport.Tag, payload []byte) {
	p.controlMu.Lock()
	defer p.controlMu.Unlock()
	if p.control == nil {
		return
	}
	h := header{
		kind: kind, tag: tag, epoch: p.t.cfg.Epoch, length: uint32(len(payload)), seq: p.controlSeq + 1,
		message: uint64(len(payload)), sum: crc32c.Update(0, payload),
	}
	frame := make([]byte, headerBytes, headerBytes+len(payload))
	h.put(frame)
	frame = append(frame, payload...)
	if p.controlRest = p.writeControl(p.controlRest); len(p.controlRest) > 0 {
		return // half a frame is in the way, and the peer does not read
	}
	if rest := p.writeControl(frame); len(rest) < len(frame) {
		p.controlSeq++
		p.controlRest = rest
	}
}

// writeControl writes b and returns what the stream has not taken.
func (p *peer) writeControl(b []byte) (rest []byte) {
	// This process may have been stopped before the first write.
	for tries := 0; len(b) > 0 && tries < 2; tries++ {
		_ = p.control.SetWriteDeadline(time.Now().Add(controlTimeout))
		n, err := p.control.Write(b)
		if b = b[n:]; n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return b
}

// listen reads p's control stream until it ends, and reports how it ended.
func (p *peer) listen() {
	defer close(p.gone)
	defer p.control.Close() // the far end, if it is closing, waits for this
	frame := make([]byte, headerBytes+maxControlPayload)
	for seq := uint64(1); ; seq++ {
		h, payload, err := p.readControl(frame, seq)
		if err != nil {
			p.ended(err)
			return
		}
		p.lastHeard.Store(time.Now().UnixNano())
		p.begun.Store(true)
		switch h.kind {
		case kindFarewell:
			p.saidGoodbye.Store(true)
			p.t.sleepers.wakeAll() // memory does not tell its writer that nobody reads any more
			return
		case kindAbort:
			p.aborted(payload)
			return
		case kindStatement:
			p.receiveStatement(h, payload)
		}
	}
}

func (p *peer) readControl(frame []byte, seq uint64) (header, []byte, error) {
	if _, err := io.ReadFull(p.control, frame[:headerBytes]); err != nil {
		return header{}, nil, err
	}
	h, err := decodeHeader(frame)
	if err == nil {
		err = h.checkOrder(p.t.cfg.Epoch, seq)
	}
	if err == nil && (h.kind == kindData || h.kind == kindInPlace || h.length > maxControlPayload) {
		err = fmt.Errorf("control frame of kind %d and %d bytes, limit %d: %w",
			h.kind, h.length, maxControlPayload, transport.ErrProtocol)
	}
	if err != nil {
		return header{}, nil, err
	}
	payload := frame[headerBytes : headerBytes+int(h.length)]
	if _, err := io.ReadFull(p.control, payload); err != nil {
		return header{}, nil, err
	}
	if sum := crc32c.Update(0, payload); sum != h.sum {
		return header{}, nil, fmt.Errorf("control frame sums to %#08x, states %#08x: %w", sum, h.sum, transport.ErrCorrupt)
	}
	return h, payload, nil
}

// ended breaks the mesh when a control stream has ended without a farewell.
func (p *peer) ended(err error) {
	if p.t.closed.Load() || errors.Is(err, net.ErrClosed) {
		return
	}
	if !errors.Is(err, transport.ErrCorrupt) && !errors.Is(err, transport.ErrProtocol) {
		err = peerLost(err)
	}
	p.t.fail(p.rank, err)
}

// An abort carries the culprit's rank (-1 if no single one is known) and a code for the sentinel, 4
// bytes each, and the reason in words.
const abortFixed = 8

// reasons are the sentinels that travel; their index is the code. 0 stands for any other error.
var reasons = [...]error{
	errAborted, transport.ErrPeerClosed, transport.ErrPeerDead, transport.ErrTimeout, transport.ErrCorrupt,
	transport.ErrProtocol, transport.ErrTooLarge, transport.ErrTruncated, transport.ErrMismatch, transport.ErrOutOfStep,
	transport.ErrPeerFailed,
}

var errAborted = errors.New("operation given up")

func (p *peer) sendAbort(f *fault) {
	code := uint32(0)
	for i, r := range reasons {
		if errors.Is(f.err, r) {
			code = uint32(i)
		}
	}
	text := printable.Text(f.err.Error(), maxControlPayload-abortFixed)
	b := make([]byte, abortFixed, abortFixed+len(text))
	binary.BigEndian.PutUint32(b, uint32(f.rank))
	binary.BigEndian.PutUint32(b[4:], code)
	p.sendControl(kindAbort, append(b, text...))
}

// aborted breaks this rank's transport for the reason that broke p's.
func (p *peer) aborted(b []byte) {
	if p.t.closed.Load() {
		return
	}
	if len(b) < abortFixed {
		p.t.fail(p.rank, fmt.Errorf("abort of %d bytes, want %d: %w", len(b), abortFixed, transport.ErrProtocol))
		return
	}
	culprit, code := transport.Rank(int32(binary.BigEndian.Uint32(b))), binary.BigEndian.Uint32(b[4:])
	if culprit < transport.None || int(culprit) >= len(p.t.peers) || code >= uint32(len(reasons)) {
		p.t.fail(p.rank, fmt.Errorf("abort naming rank %d of %d, reason %d: %w",
			culprit, len(p.t.peers), code, transport.ErrProtocol))
		return
	}
	text := printable.Text(string(b[abortFixed:]), maxControlPayload)
	p.t.fail(culprit, &remoteError{by: p.rank, text: text, reason: reasons[code]})
}

// remoteError is the cause that another rank found.
type remoteError struct {
	by     transport.Rank
	text   string
	reason error
}

func (e *remoteError) Error() string { return fmt.Sprintf("%s (found by rank %d)", e.text, e.by) }
func (e *remoteError) Unwrap() error { return e.reason }
