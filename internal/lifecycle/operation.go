package lifecycle

import (
	"errors"
	"fmt"

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
	return o.ending(o.Log.Begin(stream, label, op))
}

// Passes notes the passes of a stream.
func (o Operations) Passes(stream lockstep.StreamID, label string) PassLog {
	return passLog{o, stream, label}
}

// passLog is the passes of one stream.
type passLog struct {
	Operations
	stream lockstep.StreamID
	label  string
}

func (l passLog) Made(number uint64) {
	l.Log.MakePass(l.stream, number, fmt.Sprintf("%s, pass %d", l.label, number))
}

func (l passLog) Over(number uint64) { l.Log.EndPass(l.stream, number) }

func (l passLog) Begin(number uint64, op string) (end func(error) error) {
	return l.ending(l.Log.BeginInPass(l.stream, number, op))
}

// ending is what Begin returns of an operation.
func (o Operations) ending(begun lockstep.Begun) (end func(error) error) {
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
