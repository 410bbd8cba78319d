package striped

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// A reason is the culprit's rank (-1 if no single one is known) and a code for the sentinel, 4
	// bytes each, and the cause in words.
	reasonFixed   = 8
	maxReasonText = 512
)

var errAborted = errors.New("operation given up")

// reasons are the sentinels that an end can carry; their index is the code. 0 is any other error.
var reasons = [...]error{
	errAborted, transport.ErrPeerClosed, transport.ErrPeerDead, transport.ErrTimeout, transport.ErrCorrupt,
	transport.ErrProtocol, transport.ErrTooLarge, transport.ErrTruncated, transport.ErrMismatch, transport.ErrOutOfStep,
	transport.ErrPeerFailed,
}

// encodeReason returns the payload of an end whose reason is f.
func encodeReason(f *fault) []byte {
	code := 0
	for i, r := range reasons {
		if errors.Is(f.err, r) {
			code = i
		}
	}
	text := printable.Text(f.err.Error(), maxReasonText)
	b := make([]byte, reasonFixed, reasonFixed+len(text))
	binary.BigEndian.PutUint32(b, uint32(f.rank))
	binary.BigEndian.PutUint32(b[4:], uint32(code))
	return append(b, text...)
}

// decodeReason decodes the payload of an end that rank by has sent, in a job of size ranks. No
// payload means that the peer has closed, which is no fault.
func decodeReason(b []byte, by transport.Rank, size int) (*fault, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) < reasonFixed || len(b) > reasonFixed+maxReasonText {
		return nil, fmt.Errorf("reason of %d bytes, want %d to %d: %w",
			len(b), reasonFixed, reasonFixed+maxReasonText, transport.ErrProtocol)
	}
	culprit, code := transport.Rank(int32(binary.BigEndian.Uint32(b))), binary.BigEndian.Uint32(b[4:])
	if culprit < transport.None || int(culprit) >= size || code >= uint32(len(reasons)) {
		return nil, fmt.Errorf("end naming rank %d of %d, reason %d: %w", culprit, size, code, transport.ErrProtocol)
	}
	text := printable.Text(string(b[reasonFixed:]), maxReasonText)
	return &fault{culprit, &remoteError{by, text, reasons[code]}}, nil
}

// remoteError is the cause that another rank found.
type remoteError struct {
	by     transport.Rank
	text   string
	reason error
}

func (e *remoteError) Error() string { return fmt.Sprintf("%s (found by rank %d)", e.text, e.by) }
func (e *remoteError) Unwrap() error { return e.reason }
