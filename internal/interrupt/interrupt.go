// Package interrupt ends a program when its user or its system says so: it prints one line and
// exits with the code that shells give to such an end.
package interrupt

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Signalled is the cause of a context that a signal has ended.
type Signalled struct{ Signal syscall.Signal }

// Error says in a word what happened.
func (s Signalled) Error() string {
	if s.Signal == syscall.SIGTERM {
		return "terminated"
	}
	return "interrupted"
}

// Code is the exit code: 128 and the signal's number, 130 after Ctrl-C and 143 after SIGTERM.
func (s Signalled) Code() int { return 128 + int(s.Signal) }

// Context returns a context that ends with an interrupt, or so long after SIGTERM; its cause is a
// [Signalled]. A second signal has its usual effect, but not within a second of the first: a
// terminal, a shell and programs like timeout may each send the same one. The function that it
// returns releases what this one holds.
func Context(afterTerm time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-ctx.Done():
		case s := <-signals:
			time.AfterFunc(time.Second, func() { signal.Stop(signals) })
			why := Signalled{syscall.SIGINT}
			if s == syscall.SIGTERM {
				why.Signal = syscall.SIGTERM
				select {
				case <-time.After(afterTerm):
				case <-ctx.Done():
				}
			}
			cancel(why)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(context.Canceled)
	}
}

// Of returns what ended a context that is over. One that ended without a signal, as in a test,
// counts as interrupted.
func Of(ctx context.Context) (why Signalled, over bool) {
	if ctx.Err() == nil {
		return Signalled{}, false
	}
	why, signalled := context.Cause(ctx).(Signalled)
	if !signalled {
		why = Signalled{syscall.SIGINT}
	}
	return why, true
}
