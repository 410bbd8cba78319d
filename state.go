package switchyard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

var (
	// ErrFailed is beneath the error that ended a layer and beneath the errors of all calls after
	// it. An error without it has left the layer as it was before the call. See [Layer].
	ErrFailed = errors.New("the layer has failed")
	// ErrInUse is beneath the error of a call that was made while another goroutine was in a method
	// of the same layer. The call has done nothing.
	ErrInUse = errors.New("in use by another goroutine")
)

// state says what a layer and its twins, who share it, may do now: which of their methods run, and
// whether one of them has failed.
type state struct {
	mu      sync.Mutex
	running map[*Layer]string // the method that each is in
	failed  *failure          // why every call fails from now on
}

func newState() *state { return &state{running: map[*Layer]string{}} }

// enter begins a public method of l. An error says why it cannot begin: the context has ended, the
// layer is in use, or it has failed. Without an error the caller must call leave.
func (l *Layer) enter(ctx context.Context, op string) error { return l.begins(ctx, op, l) }

// enterAll is enter for a method that concerns the parameters, which twins share: none of them may
// be in use.
func (l *Layer) enterAll(ctx context.Context, op string) error {
	if l.original != nil {
		return l.misuse(op, "called on a twin; call it on the layer of which Twin was called")
	}
	return l.begins(ctx, op, append([]*Layer{l}, l.twins...)...)
}

func (l *Layer) begins(ctx context.Context, op string, all ...*Layer) error {
	if l.state == nil {
		return fmt.Errorf("switchyard: %s: the layer was not made by NewLayer", op)
	}
	if ctx == nil {
		return l.misuse(op, "the context is nil")
	}
	s := l.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed.again(op)
	}
	for _, of := range all {
		if other := s.running[of]; other != "" {
			return l.misuse(op, "%w: the layer, or a twin of it, is in %s", ErrInUse, other)
		}
	}
	if err := ctx.Err(); err != nil {
		if cause := context.Cause(ctx); !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return l.misuse(op, "nothing was done, as the context had ended: %w", err)
	}
	for _, of := range all {
		s.running[of] = op
	}
	return nil
}

// leave ends what enter began.
func (l *Layer) leave() {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	delete(l.state.running, l)
}

// leaveAll ends what enterAll began.
func (l *Layer) leaveAll() {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	clear(l.state.running)
}

// attempt runs do, the part of a method after which the layer is not what it was: it exchanges
// messages, or changes gradients or parameters. Unless do succeeds, or all ranks agree to refuse
// the batch, the layer has failed.
func (l *Layer) attempt(op string, do func() error) (err error) {
	err = errors.New("it panicked") // unless do returns
	// A rank may call Forward where others call ForwardBatch.
	end := l.world.begin(l.stream, l.label, strings.TrimSuffix(op, "Batch"))
	defer func() {
		err = end(err)
		if err != nil && !refusedByAll(err) {
			err = l.fail(op, err)
		}
	}()
	return do()
}

// refusedByAll tells whether every rank has an error of the same call, and the layer is as it was
// before.
func refusedByAll(err error) bool {
	var a *agreed
	return errors.Is(err, alltoall.ErrRefused) || errors.As(err, &a)
}

// agreed is an error of a call that all ranks have agreed to fail, other than
// [alltoall.ErrRefused].
type agreed struct{ error }

func (a *agreed) Unwrap() error { return a.error }

// asAgreed marks err, if there is one, as agreed.
func asAgreed(err error) error {
	if err == nil {
		return nil
	}
	return &agreed{err}
}

// fail ends the layer and its twins because of err, the error of op.
func (l *Layer) fail(op string, err error) error {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	f := &failure{op: op, cause: err}
	if l.state.failed == nil {
		l.state.failed = f
		for _, of := range l.family() {
			l.world.log.Fail(of.stream, err)
		}
	}
	return f
}

// family is the original of l and its twins.
func (l *Layer) family() []*Layer {
	if l.original != nil {
		l = l.original
	}
	return append([]*Layer{l}, l.twins...)
}

// failure is the error that has ended a layer.
type failure struct {
	op    string
	cause error
}

// Error is the cause's.
func (f *failure) Error() string { return f.cause.Error() }

// Unwrap returns the cause, and ErrFailed beside it.
func (f *failure) Unwrap() []error { return []error{f.cause, ErrFailed} }

// again is the error of a later call.
func (f *failure) again(op string) error {
	return errtext.Errorf("switchyard: %s: this layer failed earlier, in %s: %w", op, f.op, f)
}

// misuse is the error of a call that has done nothing, by this rank's fault.
func (l *Layer) misuse(op, format string, args ...any) error {
	return &transport.Error{Rank: l.world.joined(l.world.Rank()), Op: op, Err: fmt.Errorf(format, args...)}
}

// mayForward tells whether training pass p may begin: one of another batch must have had its
// Backward before.
func (l *Layer) mayForward(op string, p *pass) error {
	if l.last != nil && !p.repeats(l.last) {
		return l.misuse(op, "the Forward before, of another batch, has had no Backward: call Backward, or Discard where no gradient is wanted, or Eval in place of Forward")
	}
	return nil
}

// mayBackward tells whether dy is the gradient of a pass that waits for one.
func (l *Layer) mayBackward(dy blas32.General) error {
	if l.last == nil {
		return l.misuse("Backward", "no Forward waits for it")
	}
	if err := check.Matrix(dy, l.cfg.Dim); err != nil {
		return l.misuse("Backward", "dy has %w", err)
	}
	if want := l.last.x.Rows; dy.Rows != want {
		return l.misuse("Backward", "dy has %d rows, want %d as the last Forward's x", dy.Rows, want)
	}
	if !l.last.unchanged() {
		return l.misuse("Backward", "x has been changed since Forward; it must stay as it is until Backward returns")
	}
	return nil
}

// mayStep tells whether there are gradients for a step, and no pass that has begun with the
// parameters before it.
func (l *Layer) mayStep(op string) error {
	if err := l.noneWaits(op); err != nil {
		return err
	}
	passes := 0
	for _, t := range append([]*Layer{l}, l.twins...) {
		if passes += t.grads.passes; t.pending != nil {
			passes++
		}
	}
	if passes == 0 {
		return l.misuse(op, "there has been no Backward since the last Step")
	}
	return nil
}

// noneWaits tells whether a method may change or use up what a pass that has gone forward needs on
// its way back.
func (l *Layer) noneWaits(op string) error {
	for _, t := range append([]*Layer{l}, l.twins...) {
		if t.last != nil {
			return l.misuse(op, "a Forward has had no Backward; call Backward, or Discard where no gradient is wanted")
		}
	}
	return nil
}
