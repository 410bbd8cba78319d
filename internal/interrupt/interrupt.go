// Package interrupt ends a program on a signal of its user or system: it prints one line and exits
// with the code that shells have for that.
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

// Error names the event.
func (s Signalled) Error() string {
	if s.Signal == syscall.SIGTERM {
		return "terminated"
	}
	return "interrupted"
}

// Code is the exit code: 128 and the signal's number, 130 after Ctrl-C and 143 after SIGTERM.
func (s Signalled) Code() int { return 128 + int(s.Signal) }

// Context returns a child of parent that ends with an interrupt, or afterTerm after SIGTERM; its
// cause is a [Signalled]. A second signal has its usual effect, but not within a second of the
// first: a terminal, a shell and programs like timeout may each send the same one. The function
// that it returns releases what this one holds.
func Context(parent context.Context, afterTerm time.Duration) (context.Context, func()) {
	return watch(parent, func(ctx context.Context) {
		select {
		case <-time.After(afterTerm):
		case <-ctx.Done():
		}
	})
}

// Deferred is [Context] for a program that saves its work on SIGTERM: that signal closes asked, and
// the context goes on. A second signal ends the process.
func Deferred(parent context.Context) (ctx context.Context, asked <-chan struct{}, release func()) {
	term := make(chan struct{})
	ctx, release = watch(parent, func(ctx context.Context) {
		close(term)
		<-ctx.Done()
	})
	return ctx, term, release
}

// watch returns a child of parent that a signal ends, SIGTERM once onTerm has returned.
func watch(parent context.Context, onTerm func(context.Context)) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
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
				onTerm(ctx)
			}
			cancel(why)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(context.Canceled)
	}
}

// Of returns the signal that ended a context. A context that ended without one, as in a test,
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
