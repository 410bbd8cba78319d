package lifecycle

import (
	"cmp"
	"errors"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// ErrFailed is beneath the error that ended a layer, and beneath the errors of all calls after it.
var ErrFailed = errors.New("the layer has failed")

// Attempt runs do, the part of a method after which the layer is not what it was: it exchanges
// messages, or changes gradients or parameters. Unless do succeeds, or all ranks agree on its
// error, the layer has failed.
func (g *Guard) Attempt(op string, do func() error) error {
	return g.attempt(op, g.cfg.Begin(op), do)
}

// attempt is Attempt of an operation that has begun.
func (g *Guard) attempt(op string, end func(error) error, do func() error) (err error) {
	err = errPanicked // unless do returns
	defer func() {
		if err = end(err); err != nil && !AgreedOn(err) {
			err = g.fail(op, err)
		}
	}()
	return do()
}

// AttemptAll is Attempt of an operation on several layers, given by the guard of each. It is noted
// as an operation of the first. If it fails all of them have failed.
func AttemptAll(guards []*Guard, op string, do func() error) (err error) {
	err = errPanicked
	defer func() {
		if err != nil && !AgreedOn(err) {
			for _, g := range guards[1:] {
				_ = g.fail(op, err)
			}
		}
	}()
	err = guards[0].Attempt(op, do)
	return err
}

// errPanicked stands for the error of an attempt until it returns.
var errPanicked = errors.New("it panicked")

// fail ends the layer because of err, the error of op.
func (g *Guard) fail(op string, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := &failure{name: cmp.Or(g.cfg.Name, "this layer"), op: op, cause: err}
	if g.failure == nil {
		g.failure = f
		g.cfg.Ended(err)
	}
	return f
}

// failure is the error that has ended a layer.
type failure struct {
	name, op string
	cause    error
}

// Error is the cause's.
func (f *failure) Error() string { return f.cause.Error() }

// Unwrap returns the cause, and ErrFailed beside it.
func (f *failure) Unwrap() []error { return []error{f.cause, ErrFailed} }

// again is the error of a later call.
func (f *failure) again(op string) error {
	return errtext.Errorf("switchyard: %s: %s failed earlier, in %s: %w", op, f.name, f.op, f)
}

// AgreedOn reports whether every rank has an error of the same call, and the layer is as it was
// before: [alltoall.ErrRefused], and what Agreed returns.
func AgreedOn(err error) bool {
	var a *agreed
	return errors.Is(err, alltoall.ErrRefused) || errors.As(err, &a)
}

// Agreed marks err, which is not nil, as the error of a call that all ranks have agreed to fail.
func Agreed(err error) error { return &agreed{err} }

type agreed struct{ error }

func (a *agreed) Unwrap() error { return a.error }
