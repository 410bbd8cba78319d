package harness

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/switchyard-moe/switchyard/internal/interrupt"
)

// Pace tells on standard error how long a command is going to take: at its start, by what it takes
// on two cores, and then by what its turns so far have taken.
type Pace struct {
	To          io.Writer
	Turns, done int
	expected    time.Duration
	Start       time.Time
}

// NewPace says how long a command of turns turns takes, unless it is done at once.
func NewPace(to io.Writer, command string, turns int, expected time.Duration) *Pace {
	if atOnce := 50 * time.Millisecond; expected >= atOnce {
		fmt.Fprintf(to, "bench: %s takes %s; if stopped, it prints what it has measured\n", command, roughly(expected))
	}
	return &Pace{To: to, Turns: turns, expected: expected, Start: time.Now()}
}

// Next says which turn begins.
func (p *Pace) Next(format string, args ...any) {
	left := p.expected
	if p.done > 0 {
		left = time.Since(p.Start) / time.Duration(p.done) * time.Duration(max(p.Turns-p.done, 0))
	}
	p.done++
	fmt.Fprintf(p.To, "bench: %s; %s left\n", fmt.Sprintf(format, args...), roughly(left))
}

// roughly is a time in words, to one or two digits.
func roughly(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "a few seconds"
	case d < 100*time.Second:
		return fmt.Sprintf("about %d seconds", (d+5*time.Second)/(10*time.Second)*10)
	case d < 100*time.Minute:
		return fmt.Sprintf("about %d minutes", max((d+time.Minute/2)/time.Minute, 2))
	}
	return fmt.Sprintf("about %.1f hours", d.Hours())
}

// Times is n times d.
func Times(n int, d time.Duration) time.Duration { return time.Duration(n) * d }

// Conclude prints what went wrong, if anything did, and returns the exit code. That a signal has
// ended the command is told once, by run.
func Conclude(ctx context.Context, err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	if _, over := interrupt.Of(ctx); !over {
		fmt.Fprintf(stderr, "bench: %v\n", err)
	}
	return Failed
}

// Answer writes the report of a rank to the process that has started it, as JSON, unless the rank
// has failed, and returns the exit code.
func Answer(ctx context.Context, report any, err error, stdout, stderr io.Writer) int {
	if err == nil {
		err = json.NewEncoder(stdout).Encode(report)
	}
	return Conclude(ctx, err, stderr)
}

// NotRun prints what is wrong with a command's arguments and returns the exit code. Where they
// asked for help, which has been printed, that is 0.
func NotRun(stderr io.Writer, command string, err error) int {
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if errors.As(err, new(unwritable)) {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return Failed
	}
	fmt.Fprintf(stderr, "bench: %v\nbench: %s -h explains\n", err, command)
	return Misused
}

// UntilDone returns a writer that passes on to another what ranks say until ctx is done: then the
// ranks are ended, and say so, each in its own words.
func UntilDone(ctx context.Context, to io.Writer) io.Writer { return untilDone{ctx, to} }

type untilDone struct {
	ctx context.Context
	to  io.Writer
}

func (u untilDone) Write(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return len(p), nil
	}
	return u.to.Write(p)
}
