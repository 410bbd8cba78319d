package grpc

import (
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/controlpb"
)

// maxText bounds a text that a peer has chosen: a refusal, or the message of a status.
const maxText = 300

// errIdentity: a connection speaks for a rank that its credentials do not prove it to be.
var errIdentity = errors.New("identity does not fit the rank")

// reasons are the sentinels of the reasons for which a hello is refused.
var reasons = map[controlpb.Reason]error{
	controlpb.Reason_REASON_MISMATCH:  transport.ErrMismatch,
	controlpb.Reason_REASON_DUPLICATE: transport.ErrDuplicateRank,
	controlpb.Reason_REASON_IDENTITY:  errIdentity,
	controlpb.Reason_REASON_PROTOCOL:  transport.ErrProtocol,
	controlpb.Reason_REASON_CLOSED:    transport.ErrPeerClosed,
}

// refusalOf states err to the rank that is refused.
func refusalOf(err error) *controlpb.Refusal {
	r := &controlpb.Refusal{Reason: controlpb.Reason_REASON_PROTOCOL, Text: printable.Text(err.Error(), maxText)}
	for reason, sentinel := range reasons {
		if errors.Is(err, sentinel) {
			r.Reason = reason
		}
	}
	return r
}

// refusedError is what a peer refuses this rank's hello for.
type refusedError struct {
	by     transport.Rank
	text   string
	reason error
}

func (e *refusedError) Error() string { return fmt.Sprintf("refused by rank %d: %s", e.by, e.text) }
func (e *refusedError) Unwrap() error { return e.reason }

// refusedBy returns the refusal of rank by as an error.
func refusedBy(by transport.Rank, r *controlpb.Refusal) error {
	reason, known := reasons[r.Reason]
	if !known {
		reason = transport.ErrProtocol
	}
	return &refusedError{by: by, text: printable.Text(r.Text, maxText), reason: reason}
}
