package lifecycle

import (
	"errors"

	"github.com/switchyard-moe/switchyard/internal/lockstep"
	"github.com/switchyard-moe/switchyard/transport"
)

// Operations notes the operations of a program, so that ranks that are out of step are found.
type Operations struct {
	// Log holds what this rank has begun.
	Log *lockstep.Log
	// Transport asks the peers what they have begun.
	Transport transport.Transport
}

// Begin notes that an operation of a stream begins. What it returns is called with the error of the
// operation, and returns that error, or a better one if ranks are out of step.
func (o Operations) Begin(stream lockstep.StreamID, label, op string) (end func(error) error) {
	begun := o.Log.Begin(stream, label, op)
	return func(err error) error {
		defer func() { begun.End(err == nil || AgreedOn(err)) }()
		if mayBeOutOfStep(err) {
			if better := transport.Settle(o.Transport); better != nil {
				err = better
			}
		}
		return err
	}
}

// mayBeOutOfStep reports whether err is what a rank may find whose peers are in another operation.
func mayBeOutOfStep(err error) bool {
	for _, kind := range []error{
		transport.ErrProtocol, transport.ErrTruncated, transport.ErrMismatch, transport.ErrTooLarge,
	} {
		if errors.Is(err, kind) {
			return !AgreedOn(err)
		}
	}
	return false
}
